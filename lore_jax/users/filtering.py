"""Answer by answer in constant memory: what was expected of each answer, and what it taught.

The posterior is kept as a Gaussian of the deviation d, `w = mean + factor d`, prior `d ~ N(0, I)`.
Before an answer it relaxes towards the prior (an Ornstein-Uhlenbeck process, retention rho a step):

    m <- rho m,        S <- rho^2 S + (1 - rho^2) I

so weights that are asked for again after long are those of a new user; a random walk `S + q I`
would drift past the prior. After an answer with features f the margin's mean and variance under the
answer are found by quadrature and handed on (assumed density filtering):

    m <- m + S f (z_hat - z) / v,        S <- S - S f f' S (v - v_hat) / v^2.

With rho = 1 nothing is forgotten; what is lost then against a refit on all answers is the Gaussian
taken after each answer instead of after the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import GaussianPrior
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.users.adapt import pad_answers, padded_length

_NODES, _REACH = 33, 5.0  # of the quadrature, in standard deviations
_TINY = 1e-9
_USERS_AT_A_TIME = 1 << 12
_Two = tuple[Array, Array]


class Filtered(NamedTuple):
    """What was expected of each answer before it came, and what is known after the last.

    Attributes:
        log_probability: of each recorded answer given those before it, in nats, `[pairs]`.
        population: the same for a user about whom nothing is known, `[pairs]`.
        posterior: after each user's last answer; under a mixture prior as of one Gaussian.
    """

    log_probability: Float[np.ndarray, " pairs"]
    population: Float[np.ndarray, " pairs"]
    posterior: Posterior


def filter_answers(model: Model, prefs: Preferences, *, retention: float = 1.0) -> Filtered:
    """Goes through every user's answers in their order, forgetting at a given rate.

    Args:
        model: a fitted model.
        prefs: the answers, of each user in the order of time.
        retention: rho, the part of a deviation that is kept from one answer to the next, above 0
            and at most 1.

    Returns:
        The `Filtered`, in the order of `prefs`.

    Raises:
        ValueError: `retention` is outside (0, 1], or the prior is not Gaussian.

    Example:
        >>> filtered = filter_answers(model, shots)
        >>> filtered.log_probability.shape == (shots.num_pairs,)
        True

    Reference:
        Opper 1998, "A Bayesian approach to on-line learning" (assumed density filtering).
    """
    if not 0.0 < retention <= 1.0:
        raise ValueError(f"retention is {retention}: above 0 and at most 1 is expected")
    prior = model.prior
    if not isinstance(prior, GaussianPrior):
        raise ValueError(f"the prior is a {type(prior).__name__}: a Gaussian one is expected")
    along = prior.project(rewards(model, prefs.embeddings).table)
    count = prefs.pairs_per_user()
    first = np.cumsum(count) - count
    log_probability, population = np.zeros((2, prefs.num_pairs), np.float32)
    users, rank = prefs.num_users, model.rank
    weights = np.empty((users, rank), np.float32)
    covariance = np.empty((users, rank, rank), np.float32)
    longest = padded_length(int(count.max(initial=1)))
    size = min(_USERS_AT_A_TIME, 1 << max(0, users - 1).bit_length())
    for at in range(0, users, size):
        chunk = np.minimum(np.arange(at, at + size), users - 1)
        features, weight = pad_answers(along, prefs, chunk, longest)
        result = jax.device_get(
            _filter(prior, model.likelihood, features, jnp.asarray(weight > 0), retention)
        )
        mine = chunk[: min(size, users - at)]
        slot, place = np.nonzero(np.arange(longest)[:, None] < count[mine])
        pairs = first[mine][place] + slot
        log_probability[pairs] = result[0][slot, place]
        population[pairs] = result[1][slot, place]
        weights[mine], covariance[mine] = (part[: len(mine)] for part in result[2:])
    ones = np.ones(users, bool)
    posterior = Posterior(
        weights=weights,
        covariance=covariance,
        shots=count.astype(np.int32),
        converged=ones,
        steps=np.zeros(users, np.int32),
        grad_norm=np.zeros(users, np.float32),
        user_ids=prefs.user_ids,
    )
    return Filtered(log_probability, population, posterior)


@jax.jit
def _filter(
    prior: GaussianPrior, likelihood: Likelihood, along: Array, live: Array, retention: Array
) -> tuple[Array, Array, Array, Array]:
    """`along [columns, shots, users]` -> log probabilities `[shots, users]`, moments in front."""

    def one(along: Array, live: Array) -> tuple[Array, Array, Array, Array]:
        k = along.shape[0] - 1
        eye = jnp.eye(k)

        def step(state: tuple[Array, Array], answer: tuple[Array, Array]) -> tuple[_Two, _Two]:
            columns, is_live = answer
            f, offset = columns[:-1], columns[-1]
            mean = retention * state[0]
            spread = retention**2 * state[1] + (1.0 - retention**2) * eye
            towards = spread @ f
            margin, variance = offset + f @ mean, jnp.maximum(f @ towards, 0.0)
            expected = likelihood.predictive(margin, variance)
            nobody = likelihood.predictive(offset, f @ f)
            after, left = _after_answer(likelihood, margin, variance)
            safe = jnp.maximum(variance, _TINY)
            mean = mean + towards * (after - margin) / safe
            taken = jnp.maximum(variance - left, 0.0) / safe**2
            spread = spread - taken * towards[:, None] * towards[None]
            # Behind the last answer is padding.
            new = [jnp.where(is_live, a, b) for a, b in zip((mean, spread), state, strict=True)]
            return (new[0], new[1]), (expected, nobody)

        state, found = jax.lax.scan(step, (jnp.zeros(k), eye), (along.T, live))
        weights = prior.mean + prior.factor @ state[0]
        return *found, weights, prior.factor @ state[1] @ prior.factor.T

    return jax.vmap(one, in_axes=(2, 1), out_axes=(1, 1, 0, 0))(along, live)


def _after_answer(likelihood: Likelihood, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of a margin after the recorded answer."""
    x = jnp.linspace(-_REACH, _REACH, _NODES)
    margin = mean + jnp.sqrt(variance) * x
    density = jax.nn.softmax(-0.5 * x**2 - likelihood.loss(margin))
    after = density @ margin
    return after, density @ (margin - after) ** 2


def retention_of(half_life: float) -> float:
    """The retention at which half of a deviation is left after so many answers.

    Example:
        >>> retention_of(1.0)
        0.5
    """
    return math.exp2(-1.0 / half_life)
