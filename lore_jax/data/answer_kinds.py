"""Kinds of answers: what an answer is about, and how many outcomes it can have."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

KindName = Literal["pair", "tie", "strength", "ranking", "best_worst", "rating"]
_LEVELS = {"pair": 2, "tie": 3}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an answer says.

    Attributes:
        name: pair (the first response is better), tie (second, neither, first), strength (levels
            from the second much better to the first much better), ranking, best_worst (the first
            response is the best, the last the worst), rating (levels of one response).
        num_items: how many responses an answer is about.
        levels: how many outcomes it has where they are levels; 0 for rankings.
        places: how many first places a ranking says: 1 is a choice; 0 for the others.

    Example:
        >>> Kind("ranking", 4, places=1).num_outcomes
        4
    """

    name: KindName
    num_items: int
    levels: int = 0
    places: int = 0

    def __post_init__(self) -> None:
        if self.name not in get_args(KindName):
            names = ", ".join(get_args(KindName))
            raise ValueError(f"the kind of an answer is {self.name!r}: one of {names} is expected")
        by_level = self.name not in ("ranking", "best_worst")
        expected = (1 if self.name == "rating" else 2) if by_level else max(2, self.num_items)
        if self.num_items != expected:
            more = "" if by_level else " or more"
            got = f"a {self.name} is about {self.num_items} responses"
            raise ValueError(f"{got}: {expected}{more} are expected")
        if by_level and self.levels < 2:
            raise ValueError(f"a {self.name} has {self.levels} levels: 2 or more are expected")
        if self.levels != _LEVELS.get(self.name, self.levels):
            wanted = _LEVELS[self.name]
            raise ValueError(f"a {self.name} has {self.levels} levels: {wanted} are expected")
        if not by_level and self.levels:
            got = f"a {self.name} has {self.levels} levels"
            raise ValueError(f"{got}: 0 are expected, it says an order")
        if self.name != "ranking" and self.places:
            raise ValueError(f"a {self.name} says {self.places} places: 0 are expected")
        if self.name == "ranking" and not 1 <= self.places < max(self.num_items, 2):
            got = f"a ranking of {self.num_items} says {self.places} places"
            raise ValueError(f"{got}: 1 to {self.num_items - 1} are expected")

    @property
    def scale(self) -> str:
        """Answers of one scale share cut points and the like."""
        return f"{self.name} {self.levels}" if self.levels else self.name

    @property
    def num_outcomes(self) -> int:
        """How many different answers there are."""
        if self.name == "ranking":
            return math.perm(self.num_items, self.places)
        if self.name == "best_worst":
            return self.num_items * (self.num_items - 1)
        return self.levels

    def __str__(self) -> str:
        """In words, many of them."""
        if self.name == "ranking":
            last = self.num_items - 1
            said = "rankings" if self.places == last else f"first {self.places} places"
            said = "choices" if self.places == 1 and last > 1 else said
            return f"{said} of {self.num_items}"
        if self.name == "best_worst":
            return f"best-worst choices of {self.num_items}"
        if self.name == "pair":
            return "pairs"
        if self.name == "tie":
            return "pairs or ties"
        words = {"strength": "strengths", "rating": "ratings" if self.levels > 2 else "votes"}
        return f"{words[self.name]} 1-{self.levels}"
