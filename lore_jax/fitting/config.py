"""FitConfig: which method, and what validation mirrors; the table of methods, and the presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from lore_jax.data.preferences import Preferences, num_judged
from lore_jax.data.splits import GroupBy, Holdout
from lore_jax.methods.base import AnyMethod
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.methods.simplex.method import SimplexConfig

FEW_RESPONSES = 1000  # below, one draw of folds says too little: up to 5 points on real votes

# The methods by the names that the command line and the files know them by.
METHODS: dict[str, type] = {
    "gaussian": PopulationConfig,
    "simplex": SimplexConfig,
    "bradley-terry": BradleyTerryConfig,
    "reference": ReferenceConfig,
}


_MOST_REPEATS = 1000  # of draws of folds, each of which takes memory


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """What to fit. What the method leaves None is chosen on validation folds of the pairs given.

    Attributes:
        method: the method with its settings.
        holdout: what validation mirrors: "new items" (new prompts or responses, as replies of a
            language model always are) or "known items", of which other users' choices are known.
        group_by: what folds must not cut: "prompt", or "response" where everybody judges the same
            few; None: prompts (linked where they share responses) if there are three times as many
            as folds, else responses, cut where the fewest pairs are lost.
        folds: number of validation folds.
        repeats: how many times folds are drawn for fits without steps (of Bradley-Terry, or the
            population alone); None: 3 times where fewer than 1,000 responses are judged, of which
            one draw says too little, else once.
    """

    method: Annotated[AnyMethod, METHODS] = dataclasses.field(default_factory=PopulationConfig)
    holdout: Holdout = "new items"
    group_by: GroupBy | None = None
    folds: int = 4
    repeats: int | None = None

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}: 2 or more are expected")
        if self.repeats is not None and not 1 <= self.repeats <= _MOST_REPEATS:
            expected = f"1 to {_MOST_REPEATS:,} is expected"
            raise ValueError(f"repeats is {self.repeats}: {expected}")


# The paper's objective, initialisation and optimiser, to the letter; and as published later for
# PRISM.
PAPER = FitConfig(SimplexConfig(rank=5))
LATER_VARIANT = SimplexConfig(
    steps=20_000, uniform_logits=True, pooled=True, alternate=True, anchor=1e4, prune=1e-2
)
# Near the paper's loss and accuracy at every size tried, and nine to twenty times as fast
# (`benchmarks/README.md`): 34 epochs reach where the paper's 1,000 steps end.
PAPER_MINIBATCH = FitConfig(
    SimplexConfig(rank=5, steps=2040, learning_rate=2.5, num_minibatches=60)
)
# One direction for everybody, its ridge chosen.
RIDGE_BRADLEY_TERRY = FitConfig(BradleyTerryConfig())


def method_name(method: AnyMethod) -> str:
    """The name of a method in `METHODS`; of one that is not there, its class's."""
    names = [name for name, known in METHODS.items() if type(method) is known]
    return names[0] if names else type(method).__name__


def chosen_config(described: Mapping[str, Any], choice: Mapping[str, float]) -> FitConfig:
    """The configuration of a fit as its run describes it, with what was chosen put in.

    Args:
        described: `config["fit"]` of a run's manifest.
        choice: `choice` of it.

    Returns:
        A configuration with nothing left to choose.

    Raises:
        ValueError: the method or its likelihood is not one of the library's.

    Example:
        >>> described = {"method": {"name": "bradley-terry", "ridge": None}, "folds": 4}
        >>> chosen_config(described, {"ridge": 3.0}).method.ridge
        3.0
    """
    settings = dict(described["method"])
    name, likelihood = settings.pop("name"), settings.pop("likelihood", None)
    if name not in METHODS or likelihood not in (None, "Logistic"):
        unknown = name if name not in METHODS else likelihood
        raise ValueError(f"the run's configuration names {unknown}, which is not the library's")
    lists = {key: tuple(value) for key, value in settings.items() if isinstance(value, list)}
    method = METHODS[name](**{**settings, **lists, **choice})
    rest = {key: value for key, value in described.items() if key != "method"}
    return FitConfig(method, **rest)


def default_repeats(prefs: Preferences) -> int:
    """How many times folds are drawn, by default."""
    return 3 if num_judged(prefs) < FEW_RESPONSES else 1
