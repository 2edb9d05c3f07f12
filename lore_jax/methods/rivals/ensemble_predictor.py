"""Predictions by several heads: their mean or a lower bound, and how much they disagree."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.rivals.unsaved import Unsaved
from lore_jax.users.predict import Margins


def lower_bounds(heads: Any, deviations: float) -> Any:
    """Rewards `mean - deviations sd` over the heads.

    Args:
        heads: rewards by each, centred, `[responses, heads]`, of NumPy or of jax.
        deviations: k; 0: the mean.

    Example:
        >>> lower_bounds(np.array([[1.0, 3.0]]), 1.0).round(3).tolist()
        [0.586]
    """
    return heads.mean(axis=1) - deviations * heads.std(axis=1, ddof=1)


@dataclasses.dataclass(frozen=True, eq=False)
class EnsemblePredictor(Unsaved):
    """Heads, whoever the user is.

    Attributes:
        heads: for embeddings as they are.
        origin: what each head gives the mean response of the fit.
        lower_bound: k.
    """

    heads: Float[np.ndarray, "dim heads"]
    origin: Float[np.ndarray, " heads"]
    lower_bound: float

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Everybody's margins, and their variance over the heads."""
        heads = np.asarray(test.embeddings, np.float32) @ self.heads - self.origin
        bound = lower_bounds(heads, self.lower_bound)
        differences = heads[test.chosen] - heads[test.rejected]
        return Margins(bound[test.chosen] - bound[test.rejected], differences.var(axis=1, ddof=1))

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """The same."""
        return self.adapted(shots, test)
