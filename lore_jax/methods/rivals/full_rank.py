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
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences, num_judged
from lore_jax.methods.base import Choice, FoldWeights, Prediction, Stage, predicted
from lore_jax.methods.bradley_terry import RIDGES, BradleyTerryConfig
from lore_jax.methods.checks import check_positive
from lore_jax.methods.rivals.pair_slots import pair_slots
from lore_jax.methods.rivals.unsaved import Unsaved
from lore_jax.methods.shared_direction import Direction, SharedDirection
from lore_jax.model.model import rms_row_norm
from lore_jax.parallel.buckets import FitData, Layout, features
from lore_jax.parallel.devices import first_shard
from lore_jax.solvers.dual import dual_mode, own_margins, pair_kernel
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.users.predict import Margins

TAUS = (0.3, 1.0, 3.0)
MOST_RESPONSES = 8192  # of a fit: their inner products take n^2 numbers

_USERS_AT_A_TIME = 16
_ROWS_AT_A_TIME = 4096  # of a table of inner products


@flax.struct.dataclass
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
        ridges = RIDGES if self.ridge is None else (self.ridge,)
        taus = TAUS if self.tau is None else (self.tau,)
        alone: list[Choice] = [{"ridge": ridge} for ridge in ridges]
        own: list[Choice] = [{"tau": tau} for tau in taus]
        return [
            Stage("ridge", BradleyTerryConfig(), tuple(alone), open_ended=("ridge",)),
            Stage("tau", self, tuple(own), open_ended=("tau",)),
        ]

    @property
    def by_inner_products(self) -> bool:
        """A ridge and a Gaussian without a direction are."""
        return True

    def input_scale(self, prefs: Preferences) -> float:
        """The RMS norm of the rows, so that settings mean the same for every encoder."""
        return rms_row_norm(prefs.embeddings)

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
            mean, variance = jax.lax.map(user, by_user, batch_size=_USERS_AT_A_TIME)
            predictions.append(predicted(LOGISTIC, mean.T[None], variance.T[None]))
        return predictions

    def export(self, fitted: FullRankFit, layout: Layout, prefs: Preferences) -> FullRankPredictor:
        """Direction and tau; users are known by their shots alone."""
        return FullRankPredictor(
            first_shard(fitted.population.along), float(first_shard(fitted.tau))
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FullRankPredictor(Unsaved):
    """Everybody's direction, and how far users depart from it.

    Attributes:
        direction: v_0, for embeddings as they are.
        tau: standard deviation of d_u, for embeddings as they are.
    """

    direction: Float[np.ndarray, " dim"]
    tau: float

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins given each user's shots; users are solved some at a time."""
        mean, variance = np.zeros((2, test.num_pairs), np.float32)
        counts = shots.pairs_per_user(), test.pairs_per_user()
        users = np.flatnonzero(counts[1] > 0)
        users = users[np.argsort(counts[0][users], kind="stable")]
        longest = int(max((count.max(initial=0) for count in counts), default=0))
        at_once = 2 * _USERS_AT_A_TIME
        if max(shots.num_responses, test.num_responses) > _ROWS_AT_A_TIME:
            at_once = max(1, min(at_once, _ROWS_AT_A_TIME // (4 * max(longest, 1))))
        for start in range(0, len(users), at_once):
            some = users[start : start + at_once]
            given, asked = (_Padded.of(prefs, some, at_once) for prefs in (shots, test))
            tables = [np.asarray(part.table, np.float32) for part in (given, asked)]
            size = _rounded(sum(map(len, tables)))
            table = np.zeros((size, len(self.direction)), np.float32)
            table[: len(tables[0])] = tables[0]
            table[len(tables[0]) : sum(map(len, tables))] = tables[1]
            asked_rows = asked.rows + len(tables[0])
            result = _margins(
                table, self.direction, self.tau, given.rows, given.pair_weight, asked_rows
            )
            for out, values in zip((mean, variance), result, strict=True):
                out[asked.pairs[asked.real]] = np.asarray(values)[asked.real]
        return Margins(mean, variance)

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """The same: nothing of the users of the fit is kept."""
        return self.adapted(shots, test)


def _rounded(count: int) -> int:
    """The next power of two from 32 on: few shapes, as each is a program."""
    return max(32, 1 << max(count - 1, 0).bit_length())


class _Padded(NamedTuple):
    """Pairs of some users, padded to one length, over the responses that they compare."""

    table: Any
    rows: np.ndarray  # chosen and rejected in that table, [2, users, length]
    pair_weight: np.ndarray  # 0 for padding
    pairs: np.ndarray  # where each stands in the preferences
    real: np.ndarray  # whether it is a pair

    @classmethod
    def of(cls, prefs: Preferences, users: np.ndarray, at_once: int) -> _Padded:
        most = int(prefs.pairs_per_user()[users].max())
        some = np.pad(users, (0, at_once - len(users)), constant_values=-1)
        slots = pair_slots(prefs, some, _rounded(most))
        real, pairs = slots >= 0, np.maximum(slots, 0)
        rows = np.zeros((2, *pairs.shape), np.int64)
        weight = np.zeros(pairs.shape, np.float32)
        rows[0][real], rows[1][real] = prefs.chosen[pairs[real]], prefs.rejected[pairs[real]]
        weight[real] = prefs.pair_weight[pairs[real]]
        distinct, index = np.unique(rows, return_inverse=True)
        local = index.reshape(rows.shape).astype(np.int32)
        return cls(prefs.embeddings[distinct], local, weight, pairs, real)


@jax.jit
def _margins(
    table: Array,
    direction: Array,
    tau: Array,
    given: Array,
    pair_weight: Array,
    asked: Array,
) -> tuple[Array, Array]:
    """Means and variances of test margins, `[users, tests]`."""
    rewards, products = table @ direction, table @ table.T

    def user(slots: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        shots, weight, tests = slots
        pairs, others = (shots[0], shots[1]), (tests[0], tests[1])
        kernel = tau**2 * pair_kernel(products, pairs, pairs)
        mode = dual_mode(kernel, rewards[shots[0]] - rewards[shots[1]], weight)
        across = tau**2 * pair_kernel(products, others, pairs)
        ends = [products[left, right] for left, right in zip(others, others, strict=True)]
        prior = tau**2 * (ends[0] + ends[1] - 2.0 * products[tests[0], tests[1]])
        mean, variance = own_margins(mode, across, prior)
        return rewards[tests[0]] - rewards[tests[1]] + mean, variance

    slots = jnp.moveaxis(given, 1, 0), pair_weight, jnp.moveaxis(asked, 1, 0)
    return jax.lax.map(user, slots, batch_size=_USERS_AT_A_TIME)
