"""Settings measured fold by fold: those that cannot win any more stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float

# Times `n^-1/2`, for n responses held out so far. The losses of two settings that are worth
# comparing differ by some 0.1 nats a response, so this is two to three standard errors of the mean.
_SLACK = 0.25

Setting = TypeVar("Setting")


def slack(held_out: Sequence[int], responses: int) -> Float[np.ndarray, "folds"]:
    """By how much a setting may be behind the best after each fold and still win.

    `.25 / sqrt(n)`, n the responses held out so far, each counted once at most.

    Args:
        held_out: how many responses each fold holds out.
        responses: how many there are.

    Returns:
        Nats a pair, after each fold.

    Example:
        >>> slack([2500, 7500], responses=10_000)
        array([0.005 , 0.0025])
    """
    return _SLACK / np.sqrt(np.clip(np.cumsum(held_out), 1, responses))


class Race(Generic[Setting]):
    """Runs settings through folds, all of them on the first, then those that may still win.

    A setting is one fit, of which variants are read off; it may win if one of them may.

    Args:
        measure: loss and accuracy of a setting on a fold, `[2, variants]`.
        slacks: from `slack`.
        at_once: how many are measured at a time.

    Attributes:
        found: of each setting that entered `[folds, 2, variants]`; NaN for folds not run.

    Example:
        >>> losses = {"a": 0.5, "b": 0.6, "c": 0.501}
        >>> measure = lambda setting, fold: np.array([[losses[setting]], [0.7]])
        >>> race = Race(measure, np.array([0.01, 0.005]), at_once=2)
        >>> race.enter(["a", "b", "c"])
        >>> [bool(np.isfinite(row).all()) for row in race.found]
        [True, False, True]
    """

    def __init__(
        self,
        measure: Callable[[Setting, int], Float[np.ndarray, "2 variants"]],
        slacks: Float[np.ndarray, "folds"],
        *,
        at_once: int,
    ) -> None:
        self.found: list[Float[np.ndarray, "folds 2 variants"]] = []
        self._settings: list[Setting] = []
        self._measure, self._slacks, self._at_once = measure, slacks, at_once

    def enter(self, settings: Sequence[Setting]) -> None:
        """Measures more settings, against each other and those that entered before."""
        self._settings += settings
        going = list(range(len(self._settings)))
        running: dict[tuple[int, int], Future[Float[np.ndarray, "2 variants"]]] = {}
        with ThreadPoolExecutor(self._at_once) as workers:

            def ask(row: int, fold: int) -> None:
                if not self._has(row, fold) and (row, fold) not in running:
                    running[row, fold] = workers.submit(self._measure, self._settings[row], fold)

            means: list[float] = []
            for fold, behind in enumerate(self._slacks):
                if not self.found:  # the first of all compiles, and so runs alone
                    self._keep(0, fold, self._measure(self._settings[0], fold))
                for row in going:
                    ask(row, fold)
                if fold:  # who would have nothing to do goes ahead with those that lead
                    idle = -sum(not future.done() for future in running.values()) % self._at_once
                    leading = [row for _, row in sorted(zip(means, going, strict=True))]
                    ahead = itertools.product(range(fold + 1, len(self._slacks)), leading)
                    still_open = (at for at in ahead if not self._has(at[1], at[0]))
                    for later, row in itertools.islice(still_open, idle):
                        ask(row, later)
                for row in going:
                    if not self._has(row, fold):
                        self._keep(row, fold, running.pop((row, fold)).result())
                means = [float(self.found[row][: fold + 1, 0].mean(axis=0).min()) for row in going]
                stays = [not mean > min(means) + behind for mean in means]
                going = list(itertools.compress(going, stays))
                means = list(itertools.compress(means, stays))
            for future in running.values():  # of settings that stopped
                future.cancel()

    def _has(self, row: int, fold: int) -> bool:
        return row < len(self.found) and bool(np.isfinite(self.found[row][fold]).all())

    def _keep(self, row: int, fold: int, result: np.ndarray) -> None:
        while row >= len(self.found):
            self.found.append(np.full((len(self._slacks), *result.shape), np.nan))
        self.found[row][fold] = result
