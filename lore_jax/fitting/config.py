"""FitConfig: what to fit, what validation mirrors, and the presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout
from lore_jax.methods.gaussian.laplace_em import PopulationConfig
from lore_jax.methods.simplex.config import MINIBATCH, SimplexConfig
from lore_jax.model.basis import LinearBasis, MLPBasis


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """What to fit. None means chosen on validation folds of the preferences given; nothing else is
    ever looked at.

    Attributes:
        family: "gaussian" (signed weights around a learned population) or "simplex" (the paper's).
        rank: columns of the basis. 0 is the reference head, 1 is Bradley-Terry; in the gaussian
            family column 0 is the population direction and the others carry the deviations of users
            from it.
        ridge_population: ridge on the population direction, in units of pairs (gaussian).
        ridge_deviation: ridge on the columns of the deviations, in units of pairs (gaussian).
        item_effects: size of the terms that responses have of their own, relative to the basis;
            0: none (gaussian).
        num_components: how many components the population's users fall into; 0: none, their deviations are N(0,
            I); 2, 4 or 8: a mixture of so many Gaussians is learned (gaussian).
        logit_scale: what the fitted rewards are multiplied by, against the shrinkage that ridges bring
            (gaussian).
        holdout: what validation mirrors: "new items" (new prompts or responses, as replies of a
            language model always are) or "known items", of which other users' choices are known.
        group_by: what folds must not cut: "prompt", or "response" where everybody judges the same few;
            None: "prompt" if there are several times as many prompts as folds, else "response".
        folds: number of validation folds.
        hidden: widths of the basis' hidden layers; none: a linear basis.
        population: how Laplace EM runs (gaussian).
        simplex: how the paper's fit runs (simplex).
    """

    family: Literal["gaussian", "simplex"] = "gaussian"
    rank: int | None = None
    ridge_population: float | None = None
    ridge_deviation: float | None = None
    item_effects: float | None = None
    num_components: int | None = None
    logit_scale: float | None = None
    holdout: Holdout = "new items"
    group_by: GroupBy | None = None
    folds: int = 4
    hidden: tuple[int, ...] = ()
    population: PopulationConfig = dataclasses.field(default_factory=PopulationConfig)
    simplex: SimplexConfig = dataclasses.field(default_factory=SimplexConfig)


NUM_COMPONENTS = (0, 2, 4, 8)  # none, and what `learn_mixture` passes on its way
PAPER = FitConfig(
    family="simplex", rank=5
)  # the paper's objective, initialisation and optimiser, to the letter
# Near the paper's loss and accuracy at every size tried, and nine to twenty times as fast
# (`benchmarks/README.md`).
PAPER_MINIBATCH = FitConfig(family="simplex", rank=5, simplex=MINIBATCH)
# One direction for everybody, its ridge chosen.
RIDGE_BRADLEY_TERRY = FitConfig(rank=1, item_effects=0.0, num_components=0, logit_scale=1.0)


def check(prefs: Preferences, config: FitConfig) -> None:
    """Refuses what no fit can do with these preferences.

    Raises:
        ValueError: one line that says what was got and what was expected.
    """
    if config.family not in ("gaussian", "simplex"):
        raise ValueError(f"family is {config.family!r}: 'gaussian' or 'simplex' is expected")
    if prefs.num_pairs == 0 or not prefs.pair_weight.any():
        raise ValueError("there are no pairs with any weight: a fit needs at least one")
    if config.rank is not None and not 1 <= config.rank <= prefs.dim and not config.hidden:
        raise ValueError(
            f"rank is {config.rank}: 1 to {prefs.dim}, the dim of the embeddings, is expected"
        )
    if config.family == "simplex" and config.simplex.anchor and prefs.head is None:
        raise ValueError("anchor is set, but the preferences have no reference head")
    for name in ("ridge_population", "ridge_deviation", "logit_scale"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}: a positive number is expected")
    if config.item_effects is not None and not config.item_effects >= 0:
        raise ValueError(f"item_effects is {config.item_effects}: 0 or more is expected")
    if config.num_components is not None and config.num_components not in NUM_COMPONENTS:
        raise ValueError(
            f"components is {config.num_components}: {', '.join(map(str, NUM_COMPONENTS))} is expected"
        )
    if config.num_components and config.rank == 1:
        raise ValueError(
            f"components is {config.num_components}, but with rank 1 nobody deviates: components 0 is expected"
        )


def make_basis(config: FitConfig, rank: int) -> nn.Module:
    """The Flax module of a configuration with `rank` columns."""
    return MLPBasis(rank, config.hidden) if config.hidden else LinearBasis(rank)


def default_group_by(prefs: Preferences, folds: int) -> GroupBy:
    """What folds must not cut, if nobody says: prompts where there are at least five a fold, else
    responses.
    """
    return "prompt" if len(set(prefs.prompt.tolist())) >= 5 * folds else "response"
