"""The population model as a method: what is chosen when, and what is exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences, judged
from lore_jax.methods.base import (
    BasisPredictor,
    Choice,
    FoldWeights,
    Info,
    Prediction,
    Stage,
    predicted,
)
from lore_jax.methods.checks import check_hidden, check_positive, check_rank
from lore_jax.methods.gaussian import candidates, laplace_em
from lore_jax.methods.gaussian.fitted_model import fitted_model, population_prior
from lore_jax.methods.gaussian.laplace_em import EMConfig, PopulationHyper, PopulationState
from lore_jax.methods.gaussian.mixture_em import learn_mixture, level_of, standardised
from lore_jax.model.basis import Params, make_basis
from lore_jax.model.basis_posterior import (
    KINDS,
    BasisPosterior,
    response_uncertainty,
    variance_of_differences,
)
from lore_jax.model.model import rms_row_norm
from lore_jax.parallel.buckets import FitData, Layout, PerUser, features, over_rows
from lore_jax.parallel.devices import first_shard
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.mixture import Mixture, mixture_estimate, one_component
from lore_jax.solvers.pair_sums import combine, quadratic_form
from lore_jax.users.adapt import adapt


@pytree
class PopulationFit:
    """What a fit has learned.

    Attributes:
        params: what EM learned.
        input_scale: what the basis divides embeddings by.
        hyper: what was chosen, for the variance of item effects.
        basis_posterior: what is not known of the basis, before scaling; None: it is not linear.
        share: of the rewards of each response, what depends on that, `[2, responses]`.
        mixtures: of 1, 2, 4, ... components, in a leading axis; None: not asked for.
        deviations: the users' modes, from which predictions begin.
    """

    params: Params
    input_scale: Float[Array, ""]
    hyper: PopulationHyper
    basis_posterior: BasisPosterior | None
    share: Float[Array, "2 responses"]
    mixtures: Mixture | None
    deviations: PerUser


@dataclasses.dataclass(frozen=True)
class PopulationConfig(EMConfig):
    """Gaussian weights around a learned population (`laplace_em`); None: chosen on validation.

    Attributes:
        rank: columns of the basis. Column 0 is the population direction, the others carry the
            deviations of users from it; 1 is Bradley-Terry.
        ridge_population: ridge on the population direction, in units of pairs.
        ridge_deviation: ridge on the columns of the deviations, in units of pairs.
        item_effects: size of the effects that responses have of their own on everybody, relative
            to the basis; 0: none.
        item_effects_deviation: the same of the effects on which users differ.
        num_components: how many components the users' deviations are a mixture of: 2, 4 or 8; 0:
            they are N(0, I).
        logit_scale: what the fitted rewards are multiplied by, against the shrinkage that ridges
            bring.
        hidden: widths of the basis' hidden layers; none: a linear basis.
    """

    rank: int | None = None
    ridge_population: float | None = None
    ridge_deviation: float | None = None
    item_effects: float | None = None
    item_effects_deviation: float | None = None
    num_components: int | None = None
    logit_scale: float | None = None
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_positive(
            self, "steps", "learning_rate", "ridge_population", "ridge_deviation", "logit_scale"
        )
        check_rank(self.rank)
        check_hidden(self.hidden)
        for name in ("item_effects", "item_effects_deviation"):
            size = getattr(self, name)
            if size is not None and not 0 <= size < float("inf"):
                raise ValueError(f"{name} is {size}: 0 or more, and finite, is expected")
        if self.num_components is not None and self.num_components not in candidates.NUM_COMPONENTS:
            counts = ", ".join(map(str, candidates.NUM_COMPONENTS))
            raise ValueError(f"num_components is {self.num_components}: {counts} is expected")
        if self.num_components and self.rank == 1:
            raise ValueError(
                f"num_components is {self.num_components}, but with rank 1 nobody deviates: "
                "0 is expected"
            )

    @property
    def loss_unit(self) -> str:
        """The expected loss, without the ridges."""
        return "nats a pair, expected under the users' posteriors"

    @property
    def streams_table(self) -> bool:
        """Embeddings are touched by products alone."""
        return True

    @property
    def by_inner_products(self) -> bool:
        """A linear basis with ridges is fitted so."""
        return not self.hidden

    @property
    def num_minibatches(self) -> int:
        """Steps are taken on everything."""
        return 1

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The population while nobody deviates, a convex problem; then how users deviate."""
        return candidates.stages(self, prefs)

    def variants(self) -> list[Choice]:
        """The logit scales without a mixture, and the numbers of components."""
        return candidates.variants(self)

    def input_scale(self, prefs: Preferences) -> float:
        """The RMS norm of the rows, so that ridges mean the same for every encoder."""
        return rms_row_norm(prefs.embeddings)

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[PopulationHyper]:
        """Ridges, size of the item effects, columns of deviation in use, whether mixtures are.

        In a choice to be compared, `num_components` is how many a mixture has at the most.
        """
        deviations = np.arange(1, max(choice["rank"] for choice in choices))
        return [
            PopulationHyper(
                ridge_population=jnp.float32(choice["ridge_population"]),
                ridge_deviation=jnp.float32(choice["ridge_deviation"]),
                item_effects=jnp.array(
                    [choice["item_effects"], choice["item_effects_deviation"]], jnp.float32
                ),
                columns=jnp.asarray(deviations < choice["rank"], jnp.float32),
                mixture=jnp.asarray(choice.get("num_components", 1) > 0),
            )
            for choice in choices
        ]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """None for a linear basis whose only column is the population's: that is Bradley-Terry."""
        convex = not self.hidden and all(choice["rank"] == 1 for choice in choices)
        return 0 if convex else self.steps

    def init(self, data: FitData, hyper: PopulationHyper, *, key: jax.Array) -> PopulationState:
        """Ridge Bradley-Terry and the strongest directions of departure from it."""
        return laplace_em.init(self, self._basis(hyper), data, hyper, key)

    def read_by_init(self, hyper: PopulationHyper) -> PopulationHyper:
        """What is of the population: settings that differ in deviations alone begin alike."""
        return PopulationHyper(
            ridge_population=hyper.ridge_population,
            ridge_deviation=jnp.ones_like(hyper.ridge_deviation),
            item_effects=hyper.item_effects * jnp.array([1.0, 0.0]),
            columns=jnp.ones_like(hyper.columns),
            mixture=False,
        )

    def read_by_steps(self, hyper: PopulationHyper) -> PopulationHyper:
        """All but whether a mixture is learned at the end."""
        return dataclasses.replace(hyper, mixture=False)

    def step(
        self, state: PopulationState, data: FitData, hyper: PopulationHyper
    ) -> tuple[PopulationState, Info]:
        """One E step and one gradient step of the M step."""
        return laplace_em.step(state, data, hyper, module=self._basis(hyper), config=self)

    def finish(
        self, state: PopulationState, data: FitData, hyper: PopulationHyper
    ) -> PopulationFit:
        """The parameters, and mixtures where some are asked for."""
        table = laplace_em.table_of_rewards(self._basis(hyper), state.params, data, hyper)
        most = int(max(variant["num_components"] for variant in self.variants()))
        mixtures = None
        posterior, share = laplace_em.what_is_unknown(
            state, data, hyper, table, likelihood=self.likelihood, linear=not self.hidden
        )
        if most and len(hyper.columns):
            scale = self.variants()[0]["logit_scale"]
            splits = most.bit_length() - 1

            def learn() -> Mixture:
                return learn_mixture(
                    [scale * features(table, bucket) for bucket in data.buckets],
                    [jnp.asarray(bucket.pair_weight) for bucket in data.buckets],
                    splits,
                    likelihood=self.likelihood,
                )

            def gaussian() -> Mixture:
                one = one_component(len(hyper.columns), 2**splits)
                return jax.tree.map(lambda leaf: jnp.stack([leaf] * (splits + 1)), one)

            mixtures = jax.lax.cond(jnp.asarray(hyper.mixture), learn, gaussian)
        return PopulationFit(
            state.params, data.input_scale, hyper, posterior, share, mixtures, state.deviations
        )

    def predict(
        self,
        fitted: PopulationFit,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: PopulationHyper,
    ) -> list[Prediction]:
        """The uncertainty of weights, and of responses the fold's fit has not seen, integrated."""
        table = laplace_em.table_of_rewards(self._basis(hyper), fitted.params, data, hyper)
        priors = self._priors(fitted, len(hyper.columns))
        scales = jnp.array([variant["logit_scale"] for variant in self.variants()])
        predictions, unknowns = [], self._unknown(fitted, data, hyper)
        starts = map(jnp.asarray, fitted.deviations.buckets)
        for bucket, roles, unknown, start in zip(data.buckets, fold, unknowns, starts, strict=True):
            differences = features(table, bucket)

            def margins(
                variant: tuple[Mixture, Array],
                differences: Array = differences,
                unknown: Array = unknown,
                shots: Array = roles.shots,
                start: Array = start,
            ) -> tuple[Array, Array]:
                prior, scale = variant
                f, unknown = scale * differences, scale**2 * unknown
                if len(f) == 1:
                    return f[0], unknown[0]
                user = mixture_estimate(
                    f[1:], f[0], shots, prior, start, likelihood=self.likelihood, max_steps=20
                )
                moment = user.deviation**2 + jnp.diagonal(user.covariance, axis1=0, axis2=1).T
                moment = jnp.sum(hyper.columns[:, None] * moment, axis=0)
                variance = quadratic_form(f[1:], user.covariance)
                variance += unknown[0] + moment[None] * unknown[1]
                return f[0] + combine(f[1:], user.deviation), variance

            predictions.append(predicted(self.likelihood, *jax.lax.map(margins, (priors, scales))))
        return predictions

    def _unknown(
        self, fitted: PopulationFit, data: FitData, hyper: PopulationHyper
    ) -> list[Float[Array, "kinds _shots _users"]]:
        """What is not known of each pair's rewards for a weight of 1: of column 0, of another."""
        kinds = KINDS if len(hyper.columns) else 1  # without deviations, column 0's
        share = fitted.share
        if data.rows is not None:
            data, share = over_rows(data, data.rows.asked), share[:, data.rows.asked]
        variance = laplace_em.item_effect_variance(data, hyper) * share
        together = jnp.zeros((kinds, data.embeddings.shape[0], 0))
        if fitted.basis_posterior is not None:
            basis = response_uncertainty(fitted.basis_posterior, data.embeddings, data.input_scale)
            variance += share**2 * basis.variance.T
            together = share[:kinds, :, None] * basis.coordinates[:kinds]
        return [
            variance[:kinds, bucket.chosen]
            + variance[:kinds, bucket.rejected]
            + jnp.stack(
                [variance_of_differences(rows, bucket.chosen, bucket.rejected) for rows in together]
            )
            for bucket in data.buckets
        ]

    def export(self, fitted: PopulationFit, layout: Layout, prefs: Preferences) -> BasisPredictor:
        """A model with the prior that was chosen, and the posterior of everybody under it."""
        (variant,) = self.variants()
        params, hyper, share, posterior, input_scale = jax.tree.map(
            lambda leaf: jnp.asarray(first_shard(leaf)),
            (fitted.params, fitted.hyper, fitted.share, fitted.basis_posterior, fitted.input_scale),
        )
        model = fitted_model(
            self,
            params,
            hyper,
            input_scale=input_scale,
            logit_scale=variant["logit_scale"],
            posterior=posterior,
            share=share,
            embeddings=prefs.embeddings,
            judged=judged(prefs),
        )
        if variant["num_components"]:
            learned = jax.tree.map(lambda leaf: first_shard(leaf)[-1], fitted.mixtures)
            prior = standardised(population_prior(model.rank), learned)
            model = dataclasses.replace(model, prior=prior)
        return BasisPredictor(model, adapt(model, prefs))

    def _basis(self, hyper: PopulationHyper) -> nn.Module:
        return make_basis(len(hyper.columns) + 1, self.hidden)

    def _priors(self, fitted: PopulationFit, k: int) -> Mixture:
        """The prior of deviations in each variant, `[variants, ...]`."""
        counts = [int(variant["num_components"]) for variant in self.variants()]
        if fitted.mixtures is None:
            return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(counts)), one_component(k))
        gaussian = one_component(k, max(counts))
        each = [level_of(fitted.mixtures, count) if count else gaussian for count in counts]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
