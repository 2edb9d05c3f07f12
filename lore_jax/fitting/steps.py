"""All steps of a fit in memory, in chunks between which it says how far it has come."""

from __future__ import annotations

from typing import Protocol

import jax
import numpy as np
from jaxtyping import PyTree

from lore_jax.fitting.progress import Progress
from lore_jax.methods.base import AnyMethod, Info

# Passes over the pairs between two words of progress: as a run takes steps by default, so that both
# share their programs. Another number for the last steps would be another program, which takes
# longer to compile than most fits take; steps on mini-batches are one program each.
_CHUNK = 20


class Stepping(Protocol):
    """A fit ready to run."""

    @property
    def method(self) -> AnyMethod:
        """What is fitted."""
        ...

    @property
    def steps(self) -> int:
        """How many make the fit."""
        ...

    def advance(self, state: PyTree, taken: int, count: int, /) -> tuple[PyTree, Info]:
        """Takes `count` steps when `taken` lie behind."""
        ...


def take_steps(running: Stepping, state: PyTree, *, progress: bool) -> tuple[PyTree, Info]:
    """Takes all steps of a fit, 20 passes at a time; at once where a rest would be compiled for.

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
    minibatches, steps = running.method.num_minibatches, running.steps
    size = _CHUNK * minibatches
    if minibatches == 1 and steps % size:
        size = steps
    with Progress(shown=progress) as shown:
        for taken in range(0, steps, size):
            state, info = running.advance(state, taken, min(size, steps - taken))
            infos.append(Info(*map(np.asarray, jax.block_until_ready(info))))
            shown.stepped(min(taken + size, steps), steps)
    return state, Info(*map(np.concatenate, zip(*infos, strict=True)))
