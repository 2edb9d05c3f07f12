"""A model a user: everybody's direction plus one of the user's own, of full rank.

    z = (v_0 + d_u) . x,   x = e_chosen - e_rejected,   d_u ~ N(0, tau^2 I)

v_0 is ridge Bradley-Terry, its ridge chosen first; tau by validation. What is learned of one user
says nothing of another: there is no basis. It is what fine-tuning a model for each user (OPPU) is
on frozen embeddings.

A user is found in dual form, at a cost that does not depend on the dim (`solvers/dual.py`).

Reference:
    Tan et al. 2024, arXiv 2402.04401 (OPPU).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences, num_judged
from lore_jax.methods.base import Choice, FoldWeights, Prediction, Stage, predicted
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.checks import check_positive
from lore_jax.methods.rivals.full_rank_predictor import USERS_AT_A_TIME, FullRankPredictor
from lore_jax.methods.shared_direction import Direction, SharedDirection
from lore_jax.parallel.buckets import FitData, Layout, features
from lore_jax.parallel.devices import first_shard
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.dual import dual_mode, own_margins, pair_kernel
from lore_jax.solvers.likelihood import LOGISTIC

TAUS = (0.3, 1.0, 3.0)
MOST_RESPONSES = 8192  # of a fit: their inner products take n^2 numbers


@pytree
class FullRankFit:
    """What a fit has learned.

    Attributes:
        population: everybody's direction, for embeddings as they are.
        tau: standard deviation of a user's own direction, for embeddings as they are.
    """

    population: Direction
    tau: Float[Array, "*shards"]


@dataclasses.dataclass(frozen=True)
class FullRankConfig(SharedDirection):
    """Everybody's direction plus one of each user's own; None: chosen on validation.

    Attributes:
        ridge: ridge on everybody's direction, in units of pairs.
        tau: standard deviation of a user's own direction, for embeddings of norm 1.

    Example:
        >>> from lore_jax.fitting.fit import fit_predictor
        >>> config = FitConfig(FullRankConfig(ridge=3.0, tau=1.0))
        >>> predictor, history = fit_predictor(prefs, config, key=0)
        >>> predictor.adapted(shots, test).mean.shape == (test.num_pairs,)
        True
    """

    ridge: float | None = None
    tau: float | None = None

    def __post_init__(self) -> None:
        check_positive(self, "ridge", "tau")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The ridge, as of Bradley-Terry; then tau.

        Raises:
            ValueError: there are too many responses for a table of their inner products.
        """
        judged = num_judged(prefs)
        if judged > MOST_RESPONSES:
            raise ValueError(
                f"{judged:,} responses are compared: a model a user takes the inner products of "
                f"all of them, of at most {MOST_RESPONSES:,}"
            )
        taus = TAUS if self.tau is None else (self.tau,)
        own: list[Choice] = [{"tau": tau} for tau in taus]
        return [
            *BradleyTerryConfig(ridge=self.ridge).stages(prefs),
            Stage("tau", self, tuple(own), open_ended=("tau",)),
        ]

    @property
    def by_inner_products(self) -> bool:
        """A ridge and a Gaussian without a direction are."""
        return True

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, " 2"]]:
        """Ridge and tau."""
        return [jnp.array([choice["ridge"], choice["tau"]], jnp.float32) for choice in choices]

    def init(self, data: FitData, hyper: Float[Array, " 2"], *, key: jax.Array) -> Direction:
        """Everybody's direction, the optimum."""
        return BradleyTerryConfig().init(data, hyper[0], key=key)

    def finish(self, state: Direction, data: FitData, hyper: Float[Array, " 2"]) -> FullRankFit:
        """For embeddings as they are."""
        return FullRankFit(super().finish(state, data, hyper), hyper[1] / data.input_scale)

    def predict(
        self,
        fitted: FullRankFit,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: Float[Array, " 2"],
    ) -> list[Prediction]:
        """By each user's mode given the shots, its uncertainty integrated."""
        table, population = data.table.astype(jnp.float32), fitted.population
        products = table @ table.T
        if data.outside is not None:
            products += jnp.diag(data.outside)
        rewards = (table @ population.along + population.own)[:, None]

        def user(slots: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
            chosen, rejected, weight, offset = slots
            pairs = chosen, rejected
            kernel = fitted.tau**2 * pair_kernel(products, pairs, pairs)
            mode = dual_mode(kernel, offset, weight)
            mean, variance = own_margins(mode, kernel, jnp.diagonal(kernel))
            return offset + mean, variance

        predictions = []
        for bucket, roles in zip(data.buckets, fold, strict=True):
            offset = features(rewards, bucket)[0]
            slots = bucket.chosen, bucket.rejected, roles.shots, offset
            by_user = jax.tree.map(lambda leaf: jnp.asarray(leaf).T, slots)
            mean, variance = jax.lax.map(user, by_user, batch_size=USERS_AT_A_TIME)
            predictions.append(predicted(LOGISTIC, mean.T[None], variance.T[None]))
        return predictions

    def export(self, fitted: FullRankFit, layout: Layout, prefs: Preferences) -> FullRankPredictor:
        """Direction and tau; users are known by their shots alone."""
        return FullRankPredictor(
            first_shard(fitted.population.along), float(first_shard(fitted.tau))
        )
