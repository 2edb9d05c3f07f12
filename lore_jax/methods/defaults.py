"""What most methods answer to the contract: they see all pairs in every step, or take no step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Info, State
from lore_jax.model.model import rms_row_norm
from lore_jax.parallel.buckets import FitData


class WholeTable:
    """The answers of a method that reads the whole table, in its own coordinates.

    Example:
        >>> WholeTable().num_minibatches
        1
    """

    @property
    def loss_unit(self) -> str:
        """Of steps, if there are any."""
        return "nats a pair"

    @property
    def by_inner_products(self) -> bool:
        """The table is read as it is."""
        return False

    @property
    def num_minibatches(self) -> int:
        """Everything is seen at once."""
        return 1

    def input_scale(self, prefs: Preferences) -> float:
        """The RMS norm of the rows, so that settings mean the same for every encoder."""
        return rms_row_norm(prefs.embeddings)


class WithoutSteps(WholeTable):
    """The answers of a method whose `init` is the optimum.

    Example:
        >>> WithoutSteps().num_steps([])
        0
    """

    def variants(self) -> list[Choice]:
        """None."""
        return [{}]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """None."""
        return 0

    def step(self, state: State, data: FitData, hyper: Any) -> tuple[State, Info]:
        """Is never taken."""
        return state, Info(jnp.zeros(()), jnp.zeros(()))


def columns_in_use(choices: Sequence[Choice]) -> list[Float[Array, " k"]]:
    """1 for the columns that each choice's rank has, of as many as the largest has.

    Example:
        >>> [columns.tolist() for columns in columns_in_use([{"rank": 1}, {"rank": 2}])]
        [[1.0, 0.0], [1.0, 1.0]]
    """
    columns = jnp.arange(max(choice["rank"] for choice in choices))
    return [(columns < choice["rank"]).astype(jnp.float32) for choice in choices]
