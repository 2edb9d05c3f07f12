"""The fits that experiments compare: each is configured in this one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import lore_jax as lore
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout
from lore_jax.methods.simplex.config import LATER_VARIANT

REFERENCE_HEAD = lore.FitConfig(rank=0)

# What --smoke gives instead of choosing it on validation folds.
_GIVEN = {"ridge_population": 10.0, "ridge_deviation": 3.0, "num_components": 0, "logit_scale": 1.0}


def paper_objective(
    *, rank: int, scale: float = 1.0, steps: int = 1000, smoke: bool = False
) -> lore.FitConfig:
    """The paper's objective and optimiser; at rank 1 its Bradley-Terry model.

    Args:
        rank: columns of the basis.
        scale: what raw embeddings are multiplied by.
        steps: Adam steps.
        smoke: ten steps.
    """
    simplex = lore.SimplexConfig(scale=scale, steps=10 if smoke else steps)
    return dataclasses.replace(lore.PAPER, rank=rank, simplex=simplex)


def later_variant(*, rank: int, scale: float = 1.0, smoke: bool = False) -> lore.FitConfig:
    """The variant of the objective that was published after the paper."""
    steps = 10 if smoke else LATER_VARIANT.steps
    simplex = dataclasses.replace(LATER_VARIANT, scale=scale, steps=steps)
    return dataclasses.replace(lore.PAPER, rank=rank, simplex=simplex)


def ridge_bradley_terry(
    *, holdout: Holdout = "new items", group_by: GroupBy = "prompt", smoke: bool = False
) -> lore.FitConfig:
    """One direction for everybody, its ridge chosen on validation."""
    config = dataclasses.replace(lore.RIDGE_BRADLEY_TERRY, holdout=holdout, group_by=group_by)
    return dataclasses.replace(config, **_GIVEN) if smoke else config


def population_model(
    *, holdout: Holdout = "new items", group_by: GroupBy | None = "prompt", smoke: bool = False
) -> lore.FitConfig:
    """The population model, everything chosen on validation."""
    config = lore.FitConfig(holdout=holdout, group_by=group_by)
    if not smoke:
        return config
    short = lore.PopulationConfig(steps=5)
    return dataclasses.replace(config, rank=2, item_effects=0.0, population=short, **_GIVEN)


def at_rank(config: lore.FitConfig, rank: int, choice: Mapping[str, float | int]) -> lore.FitConfig:
    """The population model at another rank, with everything else as an earlier fit chose it."""
    return dataclasses.replace(config, **{**choice, "rank": rank})


def applicable(fits: Mapping[str, lore.FitConfig], prefs: Preferences) -> dict[str, lore.FitConfig]:
    """The fits that these preferences allow: the reference head only where they have one."""
    has_head = prefs.head is not None
    return {name: config for name, config in fits.items() if has_head or config.rank != 0}
