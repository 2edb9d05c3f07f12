"""Validation: many settings of a joint fit on many folds, as one compiled program.

A fold is three sets of weights on the same pairs, laid out once: pairs that fit the basis, pairs
that adapt users to it (their shots), and pairs that are predicted. Settings are traced numbers,
ranks are masks of columns, so one function of (fold, setting) serves all of them and is mapped over
the grid; nothing is compiled twice and no Python loop runs over settings.

A fold mirrors what the model is for. With `holdout="new items"` whole groups (prompts, responses) are held out, because
replies to be ranked will be new; with `holdout="known items"` a part of each user's own groups.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout, folds
from lore_jax.methods.gaussian import laplace_em as population
from lore_jax.methods.gaussian.mixture_em import learn_mixture
from lore_jax.methods.simplex import joint_fit as simplex
from lore_jax.parallel.buckets import FitData, UserBucket, features
from lore_jax.parallel.devices import Devices, on_host, over_shards, place, split, total
from lore_jax.solvers.interior_point import simplex_estimate
from lore_jax.solvers.mixture import Mixture, mixture_estimate, one_component
from lore_jax.solvers.pair_sums import combine, quadratic_form

_TIE = 1e-6  # nats: settings whose losses are closer than that are equal


@flax.struct.dataclass
class FoldWeights:
    """The roles of one bucket's pairs in every fold: axes `[shards, folds, shots, users]`.

    Attributes:
        fit: weight of a pair in the joint fit.
        shots: weight of a pair in adapting its user to the fitted basis.
        test: 1 for pairs to predict.
        user: who the users are, int32 `[shards, folds, users]`; -1 for padding.
    """

    fit: jax.Array
    shots: jax.Array
    test: jax.Array
    user: jax.Array


class SweepTable(NamedTuple):
    """What validation found.

    Attributes:
        settings: one row a setting: names to values.
        loss: macro mean over users of the log loss on held-out pairs, in nats, `[settings, folds]`.
        accuracy: macro mean over users of the accuracy on held-out pairs, `[settings, folds]`.
        best: the row with the lowest mean loss; of equal ones the first.
    """

    settings: list[dict[str, float]]
    loss: np.ndarray
    accuracy: np.ndarray
    best: int


class Prediction(NamedTuple):
    """Log loss in nats and correctness of each pair of a bucket, for each variant, `[variants,
    shots, users]`.
    """

    loss: jax.Array
    correct: jax.Array


class Pipeline(Protocol):
    """Fit, adapt, predict, for one shard, fold and setting; hashable, so that equal pipelines share
    a program.

    Attributes:
        variants: what is varied after the fit, so that one fit serves all of it; the first is the
            most regularised.
    """

    @property
    def variants(self) -> list[dict[str, float]]: ...  # noqa: D102

    def __call__(
        self, data: FitData, fold: tuple[FoldWeights, ...], hyper: Any, key: jax.Array
    ) -> list[Prediction]:
        """Predictions of all pairs of each bucket; the data come with the fold's fit weights."""
        ...


@dataclasses.dataclass(frozen=True)
class GaussianPipeline:
    """The population model; then every user's posterior from the fold's shots.

    Attributes:
        module: the basis.
        config: how EM runs.
        num_components: numbers of components, 0, 1, 2, 4, ... ascending; see `FitConfig`.
        logit_scales: factors of the fitted rewards, tried without components; see `FitConfig`.
    """

    module: nn.Module
    config: population.PopulationConfig
    num_components: tuple[int, ...] = (0,)
    logit_scales: tuple[float, ...] = (1.0,)

    @property
    def variants(self) -> list[dict[str, float]]:
        """The logit_scales without components, and the numbers of components."""
        first, *more = self.num_components
        return [
            *(
                {"num_components": first, "logit_scale": logit_scale}
                for logit_scale in self.logit_scales
            ),
            *(
                {"num_components": components, "logit_scale": self.logit_scales[0]}
                for components in more
            ),
        ]

    def __call__(
        self,
        data: FitData,
        fold: tuple[FoldWeights, ...],
        hyper: population.PopulationHyper,
        key: jax.Array,
    ) -> list[Prediction]:
        """Predictions with the uncertainty of the weights, and of responses the fold's fit has not
        seen, integrated.
        """
        module, config = self.module, self.config
        state = population.init(config, module, data, hyper, key)
        if not population.is_convex(module, hyper):
            one = functools.partial(population.step, module=module, config=config)
            state, _ = jax.lax.scan(
                lambda carry, _: one(carry, data, hyper), state, length=config.steps
            )
        table = population.table_of_rewards(module, state.params, data, hyper)
        unknown, variances = _unknown_responses(data), population.item_effect_variance(hyper)
        differences = [features(table, bucket) for bucket in data.buckets]
        priors = self._priors(
            [self.logit_scales[0] * of for of in differences],
            [bucket.pair_weight for bucket in data.buckets],
        )
        out = []
        for bucket, roles, of_pairs in zip(data.buckets, fold, differences, strict=True):
            news = unknown[bucket.chosen] + unknown[bucket.rejected]

            def predict(variant: tuple[Mixture, jax.Array]) -> Prediction:
                prior, logit_scale = variant
                f, terms = logit_scale * of_pairs, logit_scale**2 * variances  # noqa: B023
                if len(f) == 1:
                    return _predict(f[0] / jnp.sqrt(1.0 + jnp.pi / 8.0 * news * terms[0]))  # noqa: B023
                found = mixture_estimate(f[1:], f[0], roles.shots, prior, max_steps=20)  # noqa: B023
                mean = f[0] + combine(f[1:], found.deviation)
                moment = found.deviation**2 + jnp.diagonal(found.covariance, axis1=0, axis2=1).T
                of_effects = terms[0] + jnp.tensordot(terms[1:], moment, 1)
                variance = quadratic_form(f[1:], found.covariance) + news * of_effects[None]  # noqa: B023
                return _predict(mean / jnp.sqrt(1.0 + jnp.pi / 8.0 * variance))

            out.append(
                jax.lax.map(predict, (priors, jnp.array([v["logit_scale"] for v in self.variants])))
            )
        return out

    def _priors(self, differences: list[jax.Array], weights: list[jax.Array]) -> Mixture:
        """The prior of deviations for each number of components, learned from the pairs of the fold's
        fit.
        """
        k = len(differences[0]) - 1
        most = max(self.num_components)
        if not most:
            return jax.tree.map(
                lambda leaf: jnp.stack([leaf] * len(self.variants)), one_component(k)
            )
        learned = learn_mixture(differences, weights, most.bit_length() - 1)
        chosen = [
            jax.tree.map(lambda leaf: leaf[components.bit_length() - 1], learned)
            if components
            else one_component(k, most)  # noqa: B023
            for components in (int(variant["num_components"]) for variant in self.variants)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *chosen)


@dataclasses.dataclass(frozen=True)
class SimplexPipeline:
    """The paper's fit; then every user's exact weights from the fold's shots.

    Attributes:
        module: the basis.
        config: how the fit runs.
        num_users: the number of users, whose logits are drawn in their order, whatever the devices.
    """

    module: nn.Module
    config: simplex.SimplexConfig
    num_users: int

    @property
    def variants(self) -> list[dict[str, float]]:
        """None."""
        return [{}]

    def __call__(
        self,
        data: FitData,
        fold: tuple[FoldWeights, ...],
        hyper: simplex.SimplexHyper,
        key: jax.Array,
    ) -> list[Prediction]:
        """Predictions at the optimal weights."""
        module, config = self.module, self.config
        key_basis, key_logits = jax.random.split(key)
        params = module.init(key_basis, data.embeddings[:1], data.input_scale)["params"]
        draw = jax.random.uniform if config.uniform_logits else jax.random.normal
        everybody = draw(key_logits, (self.num_users, len(hyper.columns)))
        logits = tuple(everybody[roles.user].T for roles in fold)
        state = simplex.init(config, params, logits, data)
        one = functools.partial(simplex.step, module=module, config=config)
        state, _ = jax.lax.scan(
            lambda carry, _: one(carry, data, hyper), state, length=config.steps
        )
        table = jnp.asarray(
            module.apply({"params": state.params}, data.embeddings, data.input_scale)
        )
        out = []
        for bucket, roles in zip(data.buckets, fold, strict=True):
            of_pairs = features(table, bucket) / config.temperature
            # A column out of use is made worse than any other on every pair, so that the optimum
            # gives it no weight.
            worst = -1.0 - jnp.max(jnp.abs(of_pairs))
            found = simplex_estimate(
                jnp.where(hyper.columns[:, None, None] > 0, of_pairs, worst), roles.shots
            )
            weights = (
                found.weights * hyper.columns[:, None]
            )  # all of it, but for users without shots
            weights = weights / jnp.sum(weights, axis=0)[None]
            out.append(_predict(jnp.sum(of_pairs * weights[:, None], axis=0)[None]))
        return out


def _unknown_responses(data: FitData) -> jax.Array:
    """1 for responses that no pair of the fit has on any shard, 0 for the others, float32
    `[responses]`.
    """
    seen = jnp.zeros(data.embeddings.shape[0])
    for bucket in data.buckets:
        seen = (
            seen.at[bucket.chosen]
            .add(bucket.pair_weight)
            .at[bucket.rejected]
            .add(bucket.pair_weight)
        )
    return (total(seen) == 0).astype(jnp.float32)


def _predict(logit: jax.Array) -> Prediction:
    return Prediction(jax.nn.softplus(-logit), 0.5 * (1.0 + jnp.sign(logit)))


def fold_roles(
    prefs: Preferences, count: int, *, holdout: Holdout, group_by: GroupBy, seed: int
) -> dict[str, np.ndarray]:
    """Which pairs do what in each fold.

    Args:
        prefs: the training pairs.
        count: the number of folds.
        holdout: what validation mirrors.
        group_by: what the folds must not cut.
        seed: seed of the folds.

    Returns:
        `fit`, `shots` and `test`, float32 `[folds, pairs]`.

    Raises:
        ValueError: there are too few groups for the folds.
    """
    cuts = folds(prefs, count, holdout=holdout, group_by=group_by, seed=seed)
    train, test = (
        np.stack(parts) for parts in zip(*[(cut.train, cut.test) for cut in cuts], strict=True)
    )
    # Keeping the users who are predicted out of the fit as well chose no better on real votes, from
    # less data.
    return {
        "fit": prefs.pair_weight * train,
        "shots": prefs.pair_weight * train,
        "test": test.astype(np.float32),
    }


def sweep(
    prefs: Preferences,
    input_scale: float,
    pipeline: Pipeline,
    grid: Sequence[dict[str, float]],
    hypers: Sequence[Any],
    roles: dict[str, np.ndarray],
    *,
    key: jax.Array,
    devices: Devices | None = None,
    batch: int = 1,
) -> SweepTable:
    """Runs a pipeline for every setting of a grid, in all of its variants, on every fold, in one
    program.

    Args:
        prefs: the training pairs.
        input_scale: what the basis divides embeddings by.
        pipeline: what to run.
        grid: the settings, in the order in which ties are broken: the most regularised first. Each
            stands in the table once for each of the pipeline's variants.
        hypers: each setting as the pipeline's traced hyper-parameters.
        roles: from `fold_roles`.
        key: for initialisations, the same in every run.
        devices: where to run.
        batch: how many runs are vmapped at a time; the rest are mapped over in sequence.

    Returns:
        The table.
    """
    devices = list(devices) if devices else jax.local_devices()[:1]
    data, layout = place(prefs, input_scale, devices)
    spread = {name: layout.spread_pairs(values) for name, values in roles.items()}
    weights = tuple(
        FoldWeights(
            user=split(np.repeat(ids[:, None], len(roles["test"]), axis=1), devices),
            **{name: split(values[b], devices) for name, values in spread.items()},
        )
        for b, ids in enumerate(layout.ids)
    )
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hypers)
    count = len(roles["test"])
    runs = [(setting, fold) for setting in range(len(grid)) for fold in range(count)]

    sums = _program(pipeline, batch)(weights, data, (stacked, jnp.array(runs, jnp.int32), key))
    sums = tuple(on_host(leaf) for leaf in sums)
    variants = pipeline.variants
    totals = layout.collect(
        sums, np.zeros((len(runs), 2, len(variants)))
    )  # [num_users, runs, 2, variants]
    totals = np.moveaxis(totals.reshape(prefs.num_users, len(grid), count, 2, len(variants)), 4, 2)
    totals = totals.reshape(prefs.num_users, len(grid) * len(variants), count, 2)
    settings = [{**setting, **variant} for setting in grid for variant in variants]
    tested = np.stack(
        [np.bincount(prefs.user, test, prefs.num_users) for test in roles["test"]], axis=-1
    )[:, None]
    means = np.divide(
        totals, tested[..., None], out=np.full(totals.shape, np.nan), where=tested[..., None] > 0
    )
    loss, accuracy = np.moveaxis(np.nanmean(means, axis=0), -1, 0)
    average = loss.mean(axis=1)
    best = int(np.flatnonzero(average <= average.min() + _TIE)[0])
    return SweepTable(settings, loss, accuracy, best)


@functools.cache
def _program(pipeline: Pipeline, batch: int) -> Callable[..., Any]:
    """Sums over each user's test pairs of loss and correctness, per bucket `[shards, runs, 2,
    variants, users]`.
    """

    def shard(
        weights: tuple[FoldWeights, ...], data: FitData, shared: tuple[Any, jax.Array, jax.Array]
    ) -> list[Any]:
        hypers, runs, key = shared

        def one(run: jax.Array) -> list[Any]:
            hyper = jax.tree.map(lambda leaf: leaf[run[0]], hypers)
            fold = jax.tree.map(lambda leaf: leaf[run[1]], weights)
            parts = zip(data.buckets, fold, strict=True)
            buckets = tuple(
                UserBucket(bucket.chosen, bucket.rejected, roles.fit) for bucket, roles in parts
            )
            predictions = zip(
                pipeline(dataclasses.replace(data, buckets=buckets), fold, hyper, key),
                fold,
                strict=True,
            )
            return [
                jnp.stack([jnp.sum(value * roles.test[None], axis=1) for value in p])
                for p, roles in predictions
            ]

        return jax.lax.map(one, runs, batch_size=batch)

    return over_shards(shard, donate=False)
