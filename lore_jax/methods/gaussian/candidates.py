"""What validation chooses from, and in which order: the stages of the population model."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lore_jax.data.preferences import Preferences, num_judged
from lore_jax.methods.base import Choice, Stage
from lore_jax.methods.bradley_terry import RIDGES
from lore_jax.methods.checks import possible_ranks

if TYPE_CHECKING:
    from lore_jax.methods.gaussian.method import PopulationConfig

# The most regularised first: that is how ties are broken.
RANKS = (1, 3, 9)
RIDGES_DEVIATION = (30.0, 10.0, 3.0, 1.0)
ITEM_EFFECTS = (2.0, 1.0, 0.5, 0.25)
ITEM_EFFECTS_DEVIATION = (0.0, 1.0)
LOGIT_SCALES = (1.0, 1.15, 1.3, 1.5, 1.75)
NUM_COMPONENTS = (0, 2, 4, 8)  # none, and what `learn_mixture` passes on its way

_LEAST_EFFECT = 10.0  # times n^-1/2, for n responses
# Enough to choose by: within noise of the full fit.
_SELECTION = {"steps": 60, "learning_rate": 0.1}

Value = TypeVar("Value")


def stages(config: PopulationConfig, prefs: Preferences) -> list[Stage]:
    """The population while nobody deviates, a convex problem; then how users deviate.

    Of the deviations, first their ridge at the highest rank, then the rank: ridges of different
    ranks are alike, for the covariance term of the loss leaves columns that are not needed at 0.
    Mixtures, which take longer than the fits, are learned for the ridge that is best without one.

    Raises:
        ValueError: the rank exceeds the dim, or components are asked for where nobody can deviate.
    """
    ranks = possible_ranks(config.rank, RANKS, prefs.dim, config.hidden)
    if config.num_components:  # components are of deviations
        ranks = [rank for rank in ranks if rank > 1]
        if not ranks:
            raise ValueError(
                f"num_components is {config.num_components}, but dim {prefs.dim} leaves no rank "
                "above 1 to choose: give a rank"
            )
    highest, ridges = max(ranks), _or(config.ridge_deviation, RIDGES_DEVIATION)
    quick = dataclasses.replace(config, **_SELECTION)
    alone = dataclasses.replace(quick, rank=1, num_components=0)
    if highest > 1:  # else the only stage chooses the logit scale as well
        scale = _or(config.logit_scale, LOGIT_SCALES)[0]
        alone = dataclasses.replace(alone, logit_scale=scale)
    own = _or(config.item_effects_deviation, ITEM_EFFECTS_DEVIATION)
    sizes = _or(config.item_effects, sizes_of_item_effects(num_judged(prefs)))
    population: list[Choice] = [
        {
            "rank": 1,
            "ridge_population": ridge,
            "ridge_deviation": ridges[0],
            "item_effects": size,
            "item_effects_deviation": own[0],
        }
        for ridge, size in itertools.product(_or(config.ridge_population, RIDGES), sizes)
    ]
    found = [Stage("population", alone, tuple(population), open_ended=("ridge_population",))]
    counts = _or(config.num_components, NUM_COMPONENTS)
    deviations: list[Choice] = [
        {
            "rank": highest,
            "ridge_deviation": ridge,
            "item_effects_deviation": size,
            "num_components": counts[0],
        }
        for size, ridge in itertools.product(own, ridges)
    ]
    alike = sum(variant["num_components"] == counts[0] for variant in variants(config))
    if highest > 1 and len(deviations) > 1:
        open_ended = ("ridge_deviation",)
        found.append(Stage("deviations", quick, tuple(deviations), open_ended, alike))
    if len(ranks) > 1 or (highest > 1 and (len(deviations) == 1 or len(counts) > 1)):
        # That nobody deviates stays a candidate: it wins where users do not differ.
        candidates: list[Choice] = [
            {"rank": rank, "num_components": max(counts) if rank > 1 else 0} for rank in ranks
        ]
        found.append(Stage("rank", quick, tuple(candidates)))
    return found


def variants(config: PopulationConfig) -> list[Choice]:
    """The logit scales without a mixture, and the numbers of components."""
    first, *more = _or(config.num_components, NUM_COMPONENTS)
    scales = _or(config.logit_scale, LOGIT_SCALES)
    return [
        *({"num_components": first, "logit_scale": scale} for scale in scales),
        *({"num_components": count, "logit_scale": scales[0]} for count in more),
    ]


def sizes_of_item_effects(responses: int) -> tuple[float, ...]:
    """Sizes of item effects to choose from: none that so few responses could not rule out.

    The text of a response never says everything. n responses tell an effect from none if its share
    of the variance of rewards, about c^2, exceeds the standard error of that share, of order
    `n^-1/2`. Smaller ones look better on the folds of a few dozen responses by chance alone, and
    leave the fit too sure of responses that it has not seen.

    Args:
        responses: how many responses are judged.

    Returns:
        Sizes c, the largest first.

    Example:
        >>> sizes_of_item_effects(50), sizes_of_item_effects(2000)
        ((2.0, 1.0), (2.0, 1.0, 0.5, 0.25))
    """
    least = min(1.0, _LEAST_EFFECT / np.sqrt(responses))
    return tuple(size for size in ITEM_EFFECTS if size >= least)


def _or(given: Value | None, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """What is given, or all there are to choose from."""
    return values if given is None else (given,)
