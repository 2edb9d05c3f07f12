"""Pairs of replies ordered and weighted for a user: data for personal DPO."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from lore_jax.data.preferences import from_arrays
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.users.predict import margins


class Relabelled(NamedTuple):
    """How a user would order pairs.

    Attributes:
        swapped: whether the second reply is the preferred one, `[pairs]`.
        probability: that the user prefers the reply that is now first, at least a half; what is not
            known of user and model is integrated, `[pairs]`.
        weight: `2 probability - 1`: 1 where the choice is certain, 0 where it is a coin, `[pairs]`.
    """

    swapped: Bool[np.ndarray, " pairs"]
    probability: Float[np.ndarray, " pairs"]
    weight: Float[np.ndarray, " pairs"]


def relabel(
    model: Model,
    posterior: Posterior,
    embeddings: Any,
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
    user: Int[np.ndarray, " pairs"],
) -> Relabelled:
    """Orders each pair as its user would, and weights it by how sure that is.

    Args:
        model: a fitted model.
        posterior: of the users.
        embeddings: table of responses, `[responses, dim]`.
        first: row of one reply of each pair.
        second: row of the other.
        user: for whom, an index into the posterior.

    Returns:
        The `Relabelled`, in the order given.

    Raises:
        ValueError: a row or a user is not there, or both replies of a pair are one row.

    Example:
        >>> one, two, user = np.array([0, 1]), np.array([1, 0]), np.array([3, 3])
        >>> pairs = relabel(model, posterior, prefs.embeddings, one, two, user)
        >>> pairs.swapped.tolist() in ([True, False], [False, True])
        True
    """
    prefs = from_arrays(embeddings, first, second, user, num_users=posterior.num_users)
    found = margins(model, posterior, prefs)
    order = np.argsort(prefs.row)  # pairs are kept by user
    mean, first_wins = found.mean[order], found.probability[order]
    swapped = mean < 0.0
    probability = np.maximum(np.where(swapped, 1.0 - first_wins, first_wins), 0.5)
    return Relabelled(swapped, probability, 2.0 * probability - 1.0)
