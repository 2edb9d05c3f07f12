"""RunConfig: what a run does, and what it keeps for the test."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from lore_jax.data.splits import Holdout
from lore_jax.fitting.config import FitConfig
from lore_jax.parallel.devices import Mapping


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """What a run keeps from the fit for the test.

    Attributes:
        everything: fit all pairs of all users; nothing is kept, and `evaluate` has nothing to say.
        unseen_users: share of the users kept out of the fit, to adapt to and to test on.
        test: share of the groups kept out in each test: of all groups (new items), or of each
            user's own (known items).
        items: which tests: items new to everybody, as replies of a language model always are, or
            items that other users judged in the fit. Each of the two needs a fit of its own; both
            at once cost pairs and users twice.
        fold: two numbers, k and count, instead of the shares: the k-th (from 0) of count runs of
            one seed, which test every group once and have every user unseen once.
        min_train: users with fewer training pairs are dropped.
        min_test: users with fewer test pairs of any kind are dropped.
    """

    everything: bool = False
    unseen_users: float = 0.3
    test: float = 0.3
    items: tuple[Holdout, ...] = ("new items",)
    fold: tuple[int, int] | None = None
    min_train: int = 1
    min_test: int = 1


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run does: split, fit, seed and chunk decide its result.

    Attributes:
        split: what is kept for the test.
        fit: what is fitted.
        seed: seed of the split, of validation and of the initialisation.
        chunk: steps between two looks at the clock and at signals.
        checkpoint_seconds: the least time between two checkpoints.
        devices: how many devices; None: all there are, those of other processes included.
        mapping: how the fit is mapped over them.
    """

    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    fit: Annotated[FitConfig, "flat"] = dataclasses.field(default_factory=FitConfig)
    seed: int = 0
    chunk: int = 20
    checkpoint_seconds: float = 60.0
    devices: int | None = None
    mapping: Mapping = "jit"

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("chunk", 1), ("checkpoint_seconds", 0), ("devices", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} is {value}: {least} or more is expected")


DECISIVE = ("split", "fit", "seed", "chunk")
