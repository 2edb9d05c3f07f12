"""How networks are trained: what a user may set, and what is open until validation has chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from lore_jax.methods.checks import check_at_least, check_positive
from lore_jax.methods.rivals.network import UserNetwork

_MARKS = (0.25, 0.5, 1.0)  # of the steps


@dataclasses.dataclass(frozen=True)
class TrainingConfig(UserNetwork):
    """How a network is trained; None: chosen on validation.

    Attributes:
        steps: the most steps.
        stop_after: after how many of them training stops: a quarter, a half or all of them on
            validation.
        learning_rate: of the network.
        weight_decay: decay of the weights of the network, in units of the learning rate.
        users_a_step: the most users that a step draws.
        pairs_a_step: the most pairs that it draws of each.
        least_users: fewer users with pairs are refused.
        GRID: names of what validation chooses beside `stop_after`, to the values to choose from.
        VECTOR_RATE: learning rate of users' vectors.

    Example:
        >>> TrainingConfig(steps=100).marks
        [25, 50, 100]
    """

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (1e-3,),
        "weight_decay": (1.0, 0.1, 0.01),
    }
    VECTOR_RATE: ClassVar[float] = 1.0

    steps: int = 300
    stop_after: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    users_a_step: int = 256
    pairs_a_step: int = 32
    least_users: int = 2

    def __post_init__(self) -> None:
        check_positive(self, "stop_after", *self.GRID)
        check_at_least(self, 1, "steps", "users_a_step", "pairs_a_step", "least_users")
        if self.stop_after is not None and self.stop_after > self.steps:
            raise ValueError(f"stop_after is {self.stop_after}: 1 to {self.steps} is expected")

    @property
    def marks(self) -> list[int]:
        """After how many steps the average is kept."""
        return sorted({max(1, round(mark * self.steps)) for mark in _MARKS})
