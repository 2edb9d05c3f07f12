"""Settings measured fold by fold: those that cannot win any more stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence
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

    A setting is one fit, of which variants are read off; it may win if one of them may. Workers
    that a fold leaves idle go ahead with the next folds of the settings that lead.

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
        means: list[float] = []
        running: dict[tuple[int, int], Future[Float[np.ndarray, "2 variants"]]] = {}

        def ask(row: int, fold: int) -> None:
            running[row, fold] = workers.submit(self._measure, self._settings[row], fold)

        with ThreadPoolExecutor(self._at_once) as workers:
            try:
                for fold, behind in enumerate(self._slacks):
                    if not self.found:  # the first of all compiles, and so runs alone
                        self._keep(0, fold, self._measure(self._settings[0], fold))
                    new = [row for row in going if not self._has(row, fold)]
                    for row in new:
                        if (row, fold) not in running:
                            ask(row, fold)
                    waiting = sum(not future.done() for future in running.values())
                    ahead = self._ahead(going, means, fold, running)
                    for row, later in itertools.islice(ahead, -waiting % self._at_once):
                        ask(row, later)
                    for row in new:
                        self._keep(row, fold, running.pop((row, fold)).result())
                    means = [float(self.found[row][: fold + 1, 0].mean(0).min()) for row in going]
                    stays = [not mean > min(means) + behind for mean in means]
                    going = list(itertools.compress(going, stays))
                    means = list(itertools.compress(means, stays))
            finally:
                for future in running.values():  # of settings that stopped, or after an error
                    future.cancel()

    def _ahead(
        self, going: list[int], means: list[float], fold: int, running: Container[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Settings and later folds for whom there would be nothing to do: the leading ones first.

        None on the first fold, after which most settings stop.
        """
        leading = [row for _, row in sorted(zip(means, going, strict=False))]
        return [
            (row, later)
            for later in range(fold + 1, len(self._slacks))
            for row in leading
            if not self._has(row, later) and (row, later) not in running
        ]

    def _has(self, row: int, fold: int) -> bool:
        return row < len(self.found) and bool(np.isfinite(self.found[row][fold]).all())

    def _keep(self, row: int, fold: int, result: np.ndarray) -> None:
        while row >= len(self.found):
            self.found.append(np.full((len(self._slacks), *result.shape), np.nan))
        self.found[row][fold] = result
