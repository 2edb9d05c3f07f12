"""All steps of a fit in memory, in chunks between which it says how far it has come."""

from __future__ import annotations

from typing import Protocol

import jax
import numpy as np
from jaxtyping import PyTree

from lore_jax.fitting.progress import Progress
from lore_jax.methods.base import Info

# As a run takes by default, so that both share their programs. Another number for the last steps
# would be another program: it takes longer to compile than most fits take.
_CHUNK = 20


class Stepping(Protocol):
    """A fit ready to run."""

    @property
    def steps(self) -> int:
        """How many make the fit."""
        ...

    def advance(self, state: PyTree, taken: int, count: int, /) -> tuple[PyTree, Info]:
        """Takes `count` steps when `taken` lie behind."""
        ...


def take_steps(running: Stepping, state: PyTree, *, progress: bool) -> tuple[PyTree, Info]:
    """Takes all steps of a fit, 20 at a time where that divides them, else at once.

    Args:
        running: the fit.
        state: its first state, whose memory is given up.
        progress: shows how far it has come, on standard error.

    Returns:
        The last state, and loss and gradient norm before each step, `[steps]`.

    Example:
        >>> running, state = start(prefs, FitConfig(), key=0)  # doctest: +SKIP
        >>> state, info = take_steps(running, state, progress=False)  # doctest: +SKIP
    """
    infos = [Info(np.zeros(0, np.float32), np.zeros(0, np.float32))]
    size = running.steps if running.steps % _CHUNK else _CHUNK
    with Progress(shown=progress) as shown:
        for taken in range(0, running.steps, max(size, 1)):
            state, info = running.advance(state, taken, size)
            infos.append(Info(*map(np.asarray, jax.block_until_ready(info))))
            shown.stepped(taken + size, running.steps)
    return state, Info(*map(np.concatenate, zip(*infos, strict=True)))
