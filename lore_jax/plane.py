"""Users in a plane: the first two principal directions in which their rewards depart from the population's.

A user's weights have no meaning of their own: V A and A^-1 w are the same model. What has one is the user's departure in
rewards, `R(e) . (w_u - mean)`, over the responses of a table. With C = L L' the covariance of the rewards over responses,
`x_u = L' (w_u - mean)` has the variance of that departure as its squared length, and x depends on A by a rotation only;
its principal directions do not depend on A at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lore_jax.adapt import Posterior
from lore_jax.model import Model, rewards


def user_plane(model: Model, posteriors: dict[str, Posterior], embeddings: Any) -> dict[str, Any]:
    """Coordinates of users in the plane of their strongest departures from the population.

    Args:
        model: a fitted model.
        posteriors: names of groups ("seen", "unseen") to their users. The plane is fitted to all of them together.
        embeddings: the table over which rewards are compared, `[responses, dim]`.

    Returns:
        `groups`: each name to coordinates `[users, 2]` in logits (the standard deviation, over responses, of what the
        user adds to a response's reward); `share`: the share of all departures that each direction explains, `[2]`.
        All zeros where users do not differ.

    Example:
        >>> user_plane(model, {"seen": users}, prefs.embeddings)["share"]
        [0.71, 0.12]
    """
    table = np.asarray(rewards(model, embeddings).table, np.float64)
    centred = table - table.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(table))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    mean = np.asarray(model.population.mean)
    departures = {name: (np.asarray(users.weights) - mean) @ root for name, users in posteriors.items()}
    _, sizes, directions = np.linalg.svd(np.concatenate([*departures.values()]), full_matrices=False)
    # The sign of a direction is arbitrary: let its largest coefficient be positive, so that figures do not flip.
    directions *= np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])[:, None]
    total = float((sizes**2).sum())
    share = np.pad(sizes**2, (0, 2))[:2] / (total or 1.0)
    plane = np.pad(directions, ((0, 2), (0, 0)))[:2].T
    return {"groups": {name: (x @ plane).tolist() for name, x in departures.items()}, "share": share.tolist()}
