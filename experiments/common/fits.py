"""The fits that experiments compare: each is configured in this one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import lore_jax as lore
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout
from lore_jax.fitting.config import LATER_VARIANT
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.methods.simplex.method import SimplexConfig

REFERENCE_HEAD = lore.FitConfig(ReferenceConfig())

# What --smoke gives instead of choosing it on validation folds.
_SHORT_BRADLEY_TERRY = BradleyTerryConfig(ridge=10.0)
_SHORT_POPULATION = PopulationConfig(
    steps=5,
    rank=2,
    ridge_population=10.0,
    ridge_deviation=3.0,
    item_effects=0.0,
    item_effects_deviation=0.0,
    num_components=0,
    logit_scale=1.0,
)


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
    return lore.FitConfig(SimplexConfig(rank=rank, scale=scale, steps=10 if smoke else steps))


def later_variant(*, rank: int, scale: float = 1.0, smoke: bool = False) -> lore.FitConfig:
    """The variant of the objective that was published after the paper."""
    steps = 10 if smoke else LATER_VARIANT.steps
    return lore.FitConfig(dataclasses.replace(LATER_VARIANT, rank=rank, scale=scale, steps=steps))


def ridge_bradley_terry(
    *, holdout: Holdout = "new items", group_by: GroupBy = "prompt", smoke: bool = False
) -> lore.FitConfig:
    """One direction for everybody, its ridge chosen on validation."""
    method = _SHORT_BRADLEY_TERRY if smoke else BradleyTerryConfig()
    return lore.FitConfig(method, holdout=holdout, group_by=group_by)


def population_model(
    *, holdout: Holdout = "new items", group_by: GroupBy | None = "prompt", smoke: bool = False
) -> lore.FitConfig:
    """The population model, everything chosen on validation."""
    method = _SHORT_POPULATION if smoke else PopulationConfig()
    return lore.FitConfig(method, holdout=holdout, group_by=group_by)


def at_rank(config: lore.FitConfig, rank: int, choice: Mapping[str, float | int]) -> lore.FitConfig:
    """The population model at another rank, with everything else as an earlier fit chose it."""
    method = dataclasses.replace(config.method, **{**choice, "rank": rank})
    return dataclasses.replace(config, method=method)


def applicable(fits: Mapping[str, lore.FitConfig], prefs: Preferences) -> dict[str, lore.FitConfig]:
    """The fits that these preferences allow: the reference head only where they have one."""
    has_head = prefs.head is not None
    return {name: fit for name, fit in fits.items() if has_head or fit != REFERENCE_HEAD}
