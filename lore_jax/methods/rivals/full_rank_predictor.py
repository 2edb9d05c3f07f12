"""Predictions of users who each have a direction of full rank around everybody's.

A user is found from inner products of the responses that the shots compare (`solvers/dual.py`), so
tables of some users at a time are gathered, rounded to few shapes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.rivals.pair_slots import padded_pairs, rounded_slots
from lore_jax.methods.rivals.unsaved import Unsaved
from lore_jax.parallel.rounding import rounded
from lore_jax.solvers.dual import dual_mode, own_margins, pair_kernel
from lore_jax.users.predict import Margins

USERS_AT_A_TIME = 16

_ROWS_AT_A_TIME = 4096  # of a table of inner products
_LEAST_ROWS = 32  # of it: few shapes, as each is a program


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
        at_once = 2 * USERS_AT_A_TIME
        if max(shots.num_responses, test.num_responses) > _ROWS_AT_A_TIME:
            at_once = max(1, min(at_once, _ROWS_AT_A_TIME // (4 * max(longest, 1))))
        for start in range(0, len(users), at_once):
            some = users[start : start + at_once]
            given, asked = (_Padded.of(prefs, some, at_once) for prefs in (shots, test))
            tables = [np.asarray(part.table, np.float32) for part in (given, asked)]
            size = rounded(max(_LEAST_ROWS, sum(map(len, tables))), 1)
            table = np.zeros((size, len(self.direction)), np.float32)
            table[: len(tables[0])] = tables[0]
            table[len(tables[0]) : sum(map(len, tables))] = tables[1]
            asked_rows = asked.rows + len(tables[0])
            result = _margins(
                table, self.direction, self.tau, given.rows, given.pair_weight, asked_rows
            )
            real = asked.slots >= 0
            for out, values in zip((mean, variance), result, strict=True):
                out[asked.slots[real]] = np.asarray(values)[real]
        return Margins(mean, variance)

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """The same: nothing of the users of the fit is kept."""
        return self.adapted(shots, test)


class _Padded(NamedTuple):
    """Pairs of some users, padded to one length, over the responses that they compare."""

    table: Any
    rows: np.ndarray  # chosen and rejected in that table, [2, users, length]
    pair_weight: np.ndarray  # 0 for padding
    slots: np.ndarray  # where each stands in the preferences; -1 for padding

    @classmethod
    def of(cls, prefs: Preferences, users: np.ndarray, at_once: int) -> _Padded:
        some = np.pad(users, (0, at_once - len(users)), constant_values=-1)
        pairs, slots = padded_pairs(prefs, some, rounded_slots(prefs, some))
        rows = np.stack([pairs.chosen, pairs.rejected])
        distinct, index = np.unique(rows, return_inverse=True)
        local = index.reshape(rows.shape).astype(np.int32)
        return cls(prefs.embeddings[distinct], local, np.asarray(pairs.weight), slots)


@jax.jit
def _margins(
    table: Array, direction: Array, tau: Array, given: Array, pair_weight: Array, asked: Array
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
    return jax.lax.map(user, slots, batch_size=USERS_AT_A_TIME)
