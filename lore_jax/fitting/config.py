"""FitConfig: what to fit, what validation mirrors, and the presets."""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Unit, Use
from lore_jax.methods.gaussian.laplace_em import PopulationConfig
from lore_jax.methods.simplex.config import IN_BLOCKS, SimplexConfig
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
        response_terms: size of the terms that responses have of their own, relative to the basis;
            0: none (gaussian).
        camps: how many camps the population's users fall into; 0: none, their deviations are N(0,
            I); 2, 4 or 8: a mixture of so many Gaussians is learned (gaussian).
        stretch: what the fitted rewards are multiplied by, against the shrinkage that ridges bring
            (gaussian).
        use: what validation mirrors: "unseen" units (new prompts or responses, as replies of a
            language model always are) or "seen" ones, of which other users' choices are known.
        unit: what folds must not cut: "prompt", or "response" where everybody judges the same few;
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
    response_terms: float | None = None
    camps: int | None = None
    stretch: float | None = None
    use: Use = "unseen"
    unit: Unit | None = None
    folds: int = 4
    hidden: tuple[int, ...] = ()
    population: PopulationConfig = dataclasses.field(default_factory=PopulationConfig)
    simplex: SimplexConfig = dataclasses.field(default_factory=SimplexConfig)


CAMPS = (0, 2, 4, 8)  # none, and what `learn_camps` passes on its way
PAPER = FitConfig(
    family="simplex", rank=5
)  # the paper's objective, initialisation and optimiser, to the letter
# Near the paper's loss and accuracy at every size tried, and nine to twenty times as fast
# (`benchmarks/README.md`).
PAPER_IN_BLOCKS = FitConfig(family="simplex", rank=5, simplex=IN_BLOCKS)
# One direction for everybody, its ridge chosen.
RIDGE_BRADLEY_TERRY = FitConfig(rank=1, response_terms=0.0, camps=0, stretch=1.0)


def check(prefs: Preferences, config: FitConfig) -> None:
    """Refuses what no fit can do with these preferences.

    Raises:
        ValueError: one line that says what was got and what was expected.
    """
    if config.family not in ("gaussian", "simplex"):
        raise ValueError(f"family is {config.family!r}: 'gaussian' or 'simplex' is expected")
    if prefs.num_pairs == 0 or not prefs.weight.any():
        raise ValueError("there are no pairs with any weight: a fit needs at least one")
    if config.rank is not None and not 1 <= config.rank <= prefs.dim and not config.hidden:
        raise ValueError(
            f"rank is {config.rank}: 1 to {prefs.dim}, the dim of the embeddings, is expected"
        )
    if config.family == "simplex" and config.simplex.anchor and prefs.head is None:
        raise ValueError("anchor is set, but the preferences have no reference head")
    for name in ("ridge_population", "ridge_deviation", "stretch"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}: a positive number is expected")
    if config.response_terms is not None and not config.response_terms >= 0:
        raise ValueError(f"response_terms is {config.response_terms}: 0 or more is expected")
    if config.camps is not None and config.camps not in CAMPS:
        raise ValueError(f"camps is {config.camps}: {', '.join(map(str, CAMPS))} is expected")
    if config.camps and config.rank == 1:
        raise ValueError(
            f"camps is {config.camps}, but with rank 1 nobody deviates: camps 0 is expected"
        )


def make_basis(config: FitConfig, rank: int) -> nn.Module:
    """The Flax module of a configuration with `rank` columns."""
    return MLPBasis(rank, config.hidden) if config.hidden else LinearBasis(rank)


def default_unit(prefs: Preferences, folds: int) -> Unit:
    """What folds must not cut, if nobody says: prompts where there are at least five a fold, else
    responses.
    """
    return "prompt" if len(set(prefs.prompt.tolist())) >= 5 * folds else "response"
