"""Posterior: what is known of each user's weights after some shots."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, Shaped

from lore_jax.parallel.pytree import pytree, static

if TYPE_CHECKING:
    from lore_jax.model.model import Model

POSTERIOR_ARRAYS = ("weights", "covariance", "shots", "converged", "steps", "grad_norm")


@pytree
class Posterior:
    """What is known of each user's weights after some shots: `w ~ N(weights, covariance)`.

    Attributes:
        weights: the mode, `[users, rank]`, or the mean under a mixture prior; the prior's mean for
            a user without shots.
        covariance: Laplace covariance, `[users, rank, rank]`; zeros under a simplex prior.
        shots: number of comparisons used, int32 `[users]`.
        converged: whether the solve reached its optimum, `[users]`.
        steps: Newton steps taken, int32 `[users]`.
        grad_norm: norm of the gradient where the solve ended, `[users]`.
        user_ids: the users' names `[users]`, or None (static).
    """

    weights: Float[Array | np.ndarray, "users rank"]
    covariance: Float[Array | np.ndarray, "users rank rank"] | None
    shots: Int32[Array | np.ndarray, " users"]
    converged: Bool[Array | np.ndarray, " users"]
    steps: Int32[Array | np.ndarray, " users"]
    grad_norm: Float[Array | np.ndarray, " users"]
    user_ids: Shaped[np.ndarray, " users"] | None = static(default=None)

    @property
    def num_users(self) -> int:
        """The number of users."""
        return self.weights.shape[0]

    def __repr__(self) -> str:
        """One line of sizes."""
        if self.weights.ndim != 2:
            return f"Posterior(weights {list(self.weights.shape)})"
        return f"Posterior({self.num_users:,} users, rank {self.weights.shape[1]})"

    def take(self, users: Int[np.ndarray, " n"]) -> Posterior:
        """The posterior of some users `[n]`, in the order given."""
        taken = jax.tree.map(lambda leaf: leaf[users], self)
        return dataclasses.replace(
            taken, user_ids=None if self.user_ids is None else self.user_ids[users]
        )


class Components(NamedTuple):
    """What is known of each user's weights as a mixture: a Gaussian prior's has one component.

    Attributes:
        log_share: log probability of each component, `[users, components]`; -inf out of use.
        weights: mean weights in each component, `[users, components, rank]`.
        covariance: covariance in each component, `[users, components, rank, rank]`.
    """

    log_share: Float[Array, "users components"]
    weights: Float[Array, "users components rank"]
    covariance: Float[Array, "users components rank rank"]


def join(parts: Sequence[Posterior]) -> Posterior:
    """The posteriors of some users, and of those after them, as one; named if all parts are."""
    arrays = {
        name: np.concatenate([np.asarray(getattr(part, name)) for part in parts])
        for name in POSTERIOR_ARRAYS
    }
    names = [part.user_ids for part in parts]
    known = [own for own in names if own is not None]
    return Posterior(**arrays, user_ids=np.concatenate(known) if len(known) == len(names) else None)


def population_posterior(
    model: Model, num_users: int, user_ids: np.ndarray | None = None
) -> Posterior:
    """The posterior of users about whom nothing is known: each is the population.

    Args:
        model: a fitted model.
        num_users: how many users.
        user_ids: their names.

    Returns:
        A `Posterior` on the host: every row the population's mean and covariance, 0 shots,
            converged.

    Example:
        >>> population_posterior(model, 3).weights.shape
        (3, 3)
    """
    mean, covariance = np.asarray(model.prior.mean), np.asarray(model.prior.covariance)
    return Posterior(
        weights=np.tile(mean, (num_users, 1)),
        covariance=np.tile(covariance, (num_users, 1, 1)),
        shots=np.zeros(num_users, np.int32),
        converged=np.ones(num_users, bool),
        steps=np.zeros(num_users, np.int32),
        grad_norm=np.zeros(num_users, np.float32),
        user_ids=user_ids,
    )
