"""Margins and probabilities of pairs under posteriors; draws of weights."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lore_jax.data.checks import random_key
from lore_jax.data.preferences import Preferences
from lore_jax.model.basis_posterior import variance_of_differences
from lore_jax.model.model import Model, Rewards, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.parallel.devices import filled_up
from lore_jax.parallel.rounding import rounded_pairs
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood


class Margins(NamedTuple):
    """The posterior of each pair's margin, in logits.

    Attributes:
        mean: `f . E[w]`, `[pairs]`.
        variance: `f' Cov[w] f`, plus what is not known of the basis and of responses, `[pairs]`.
        likelihood: how probable a choice is, given its margin.
    """

    mean: Float[np.ndarray, " pairs"]
    variance: Float[np.ndarray, " pairs"]
    likelihood: Likelihood = LOGISTIC

    @property
    def log_probability(self) -> Float[np.ndarray, " pairs"]:
        """Log probability of the recorded choice, the margin's uncertainty integrated, in nats."""
        moments = (filled_up(moment, rounded_pairs) for moment in (self.mean, self.variance))
        return np.asarray(_predictive(self.likelihood, *moments))[: len(self.mean)]

    @property
    def probability(self) -> Float[np.ndarray, " pairs"]:
        """Probability of the recorded choice with the margin's uncertainty integrated."""
        return np.exp(self.log_probability)

    def interval(
        self, level: float = 0.9
    ) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
        """Ends between which the margin lies with probability `level`, above 0 and below 1."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}: a probability above 0 and below 1 is expected")
        reach = float(jax.scipy.stats.norm.ppf(0.5 + level / 2.0)) * np.sqrt(self.variance)
        return self.mean - reach, self.mean + reach

    def decided(self, level: float = 0.9) -> Bool[np.ndarray, " pairs"]:
        """Whether the interval leaves out zero, so that the sign of the margin is known."""
        low, high = self.interval(level)
        return (low > 0) | (high < 0)

    def or_population(self, population: Margins, level: float = 0.9) -> Margins:
        """Abstention: the personal margin where its sign is known, elsewhere the population's.

        `z_i` if its interval leaves out zero, else `population z_i`; mean and variance alike. This
        is caution, not accuracy: where it is not sure, the personal margin is still the better
        guess, and falling back was measured to cost points wherever people differ
        (`experiments.abstention`). A posterior without spread (simplex prior, rank 1) is always
        sure.

        Args:
            population: margins of the same pairs under `population_posterior`.
            level: probability with which the personal margin lies in the interval, above 0 and
                below 1.

        Returns:
            Margins of the same pairs; `1 - self.decided(level).mean()` is the share that fell back.

        Raises:
            ValueError: the population's margins are of another number of pairs, or `level` is not
                between 0 and 1.

        Example:
            >>> nobody = margins(model, population_posterior(model, test.num_users), test)
            >>> abstaining = margins(model, posterior, test).or_population(nobody)
            >>> abstaining.probability.shape == test.chosen.shape
            True
        """
        if len(population.mean) != len(self.mean):
            raise ValueError(
                f"the population has {len(population.mean)} margins: {len(self.mean)} are expected"
            )
        sure = self.decided(level)
        return self._replace(
            mean=np.where(sure, self.mean, population.mean),
            variance=np.where(sure, self.variance, population.variance),
        )


@jax.jit
def _predictive(likelihood: Likelihood, mean: Array, variance: Array) -> Array:
    return likelihood.predictive(mean, variance)


def margins(model: Model, posterior: Posterior, prefs: Preferences) -> Margins:
    """Each pair's margin under its user's posterior.

    `z = w_u . (R(e_chosen) - R(e_rejected)) / temperature`

    Args:
        model: a fitted model.
        posterior: of the users of `prefs`, in the same order.
        prefs: pairs, seen or not.

    Returns:
        Means and variances in logits, `[pairs]`, in the order of `prefs` (sorted by user;
        `prefs.row` leads back).

    Raises:
        ValueError: the posterior is of another number of users, or the table of another width.

    Example:
        >>> accuracy = (margins(model, posterior, test).mean > 0).mean()  # over pairs
    """
    if posterior.num_users != prefs.num_users:
        raise ValueError(
            f"the posterior has {posterior.num_users} users, the preferences have {prefs.num_users}"
        )
    table, pairs = rewards(model, filled_up(prefs.embeddings)), prefs.num_pairs
    # Pairs and users are filled up too: test sets of like size share a program.
    columns = prefs.chosen, prefs.rejected, prefs.user, posterior.weights, posterior.covariance
    filled = (filled_up(column, rounded_pairs) for column in columns)
    mean, variance = moments_of_margins(table, *filled)
    return Margins(np.asarray(mean)[:pairs], np.asarray(variance)[:pairs], model.likelihood)


@jax.jit
def moments_of_margins(
    table: Rewards,
    chosen: jax.Array,
    rejected: jax.Array,
    user: jax.Array,
    weights: jax.Array,
    covariance: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Means and variances of `margins` from a table of rewards, `[pairs]`; nothing is checked."""
    features = table.table[chosen] - table.table[rejected]
    mean = jnp.sum(features * weights[user], axis=1)
    # What is not known of the two responses, for the weights as they are expected to be: Var =
    # E[w_k^2] tau_k^2.
    second_moment = weights**2 + jnp.diagonal(covariance, axis1=1, axis2=2)
    variance = jnp.sum(
        (table.variance[chosen] + table.variance[rejected]) * second_moment[user], axis=1
    )
    # What is not known of the basis, E[w_k^2] x' C_k x: of column 0, and of all others together.
    if table.coordinates.shape[2]:
        for kind, moment in enumerate((second_moment[:, 0], second_moment[:, 1:].sum(axis=1))):
            together = variance_of_differences(table.coordinates[kind], chosen, rejected)
            variance += moment[user] * together
    # The quadratic form column by column: `covariance[user]` would be pairs x rank x rank.
    for row in range(features.shape[1]):
        variance += features[:, row] * jnp.sum(features * covariance[:, row][user], axis=1)
    return mean, jnp.maximum(variance, 0.0)


def predict_proba(
    model: Model, posterior: Posterior, prefs: Preferences
) -> Float[np.ndarray, " pairs"]:
    """Probability of each recorded choice, the uncertainty of the user's weights integrated.

    Args:
        model: a fitted model.
        posterior: of the users of `prefs`, in the same order.
        prefs: pairs, seen or not.

    Returns:
        Probabilities `[pairs]`, in the order of `prefs`.

    Raises:
        ValueError: as `margins`.

    Example:
        >>> bool((predict_proba(model, posterior, test) > 0).all())
        True
    """
    return margins(model, posterior, prefs).probability


def sample_weights(posterior: Posterior, count: int, *, key: jax.Array | int) -> np.ndarray:
    """Draws from every user's posterior, for rankings, policies: whatever is not a margin.

    `w = weights + S^1/2 e`, `e ~ N(0, I)`, S^1/2 from the eigenvectors of the covariance, which may
    be singular: what is the same for everybody (column 0 of the population model) is the same in
    every draw, and a posterior without spread (a simplex prior has none) gives its weights
    `count` times. Where the population falls into components, draws have the posterior's mean and
    covariance.

    Args:
        posterior: of the users.
        count: how many draws of each user, 1 or more.
        key: the one source of randomness, or a seed.

    Returns:
        Weights, float32 `[users, count, rank]`.

    Raises:
        ValueError: `count` is below 1.

    Example:
        >>> sample_weights(posterior, 100, key=jax.random.key(0)).shape
        (12, 100, 3)
    """
    if count < 1:
        raise ValueError(f"count is {count}: 1 or more is expected")
    key = random_key(key)
    return np.asarray(_draw(posterior.weights, posterior.covariance, key, count))


@functools.partial(jax.jit, static_argnums=3)
def _draw(weights: jax.Array, covariance: jax.Array, key: jax.Array, count: int) -> jax.Array:
    users, rank = weights.shape
    noise = jax.random.normal(key, (users, count, rank))
    return weights[:, None] + jnp.einsum(
        "uck,urk->ucr", noise, covariance_root(covariance), precision=jax.lax.Precision.HIGHEST
    )


def covariance_root(
    covariance: Float[Array | np.ndarray, "users rank rank"],
) -> Float[Array, "users rank rank"]:
    """`S^1/2` of every user's covariance, by its eigenvectors; it may be singular.

    Args:
        covariance: S, `[users, rank, rank]`.

    Returns:
        Roots A with `A A' = S`, `[users, rank, rank]`.

    Example:
        >>> covariance_root(4.0 * jnp.eye(2)[None])[0] @ jnp.ones(2)
        Array([2., 2.], dtype=float32)
    """
    values, vectors = jnp.linalg.eigh(covariance)
    # Rounding leaves a part of the largest eigenvalue where there should be nothing.
    least = covariance.shape[-1] * jnp.finfo(values.dtype).eps * values[:, -1:]
    return vectors * jnp.sqrt(jnp.where(values > least, values, 0.0))[:, None]
