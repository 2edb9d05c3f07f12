"""Synthetic preferences with everything known: the planted basis, each user's weights, each pair's
true probability.

Responses. An embedding is `e = T diag(lambda)^1/2 g` with `g ~ N(0, I)`, a power law `lambda_j ~
j^-exponent` and a rotation T, so that no axis is special. T is a Hartley transform between random
signs: dim log dim operations a row.

Basis. Columns are random directions, made uncorrelated over differences of two responses:
`Cov[V'(e_a - e_b)] = I`. A user's margins then have variance `|w|^2`, whatever the spectrum. All
margins are finally divided by one number, so that their root mean square over users and pairs is `1
/ noise` logits.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.solvers.likelihood import LOGISTIC

_ENTRIES_AT_A_TIME = 4_194_304  # of the table: 16 MB in float32
_PAIRS_AT_A_TIME = 262_144


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """What to simulate.

    Attributes:
        num_users: the number of users.
        num_prompts: the number of prompts; 1 for a conversation in which everybody judges the same
            responses.
        responses_per_prompt: responses of each prompt; a pair compares two of them.
        pairs_per_user: the least and the most pairs of a user, drawn evenly; 0 is allowed.
        dim: the length of an embedding.
        rank: the number of columns of the planted basis.
        users: how weights differ. simplex: Dirichlet(alpha). gaussian: population + spread x N(0,
            I). mixture: the same around one of several centres.
        alpha: concentration of the Dirichlet distribution; small: most users weigh one column.
        spread: size of a user's deviation relative to the population's weights, or to a component's
            centre. 0: users (of a component) do not differ; 1: half of the variance of the margins is
            personal.
        num_components: the number of components, equally large.
        noise: temperature of the choices: margins have root mean square 1 / noise logits. 0: the
            higher reward always wins, and the planted margins have root mean square 1.
        head_correlation: correlation between the reference head's margins and the population's.
        exponent: decay of the embeddings' spectrum; 0: all directions alike.
        row_norm: root mean square norm of an embedding.
        dtype: type of the table.
    """

    num_users: int = 500
    num_prompts: int = 400
    responses_per_prompt: int = 8
    pairs_per_user: tuple[int, int] = (45, 45)
    dim: int = 64
    rank: int = 5
    users: Literal["simplex", "gaussian", "mixture"] = "gaussian"
    alpha: float = 0.1
    spread: float = 1.0
    num_components: int = 3
    noise: float = 0.25
    head_correlation: float = 0.5
    exponent: float = 1.0
    row_norm: float = 1.0
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Synthetic(NamedTuple):
    """Simulated preferences and the truth about them.

    Attributes:
        prefs: the pairs, with the reference head.
        model: the planted basis and the distribution that users came from, as a `Model`: an oracle
            to adapt with.
        weights: each user's true weights, float32 `[users, rank]`.
        probability: the true probability of each recorded choice, float32 `[pairs]`; all 1 without
            noise.
        component: each user's component, int32 `[users]`; all 0 without components.
    """

    prefs: Preferences
    model: Model
    weights: np.ndarray
    probability: np.ndarray
    component: np.ndarray

    @property
    def basis(self) -> np.ndarray:
        """The planted basis V: `weights . V'(e_chosen - e_rejected)` is a margin in logits, `[dim,
        rank]`.
        """
        return np.asarray(self.model.params["V"])


def synthetic(config: SyntheticConfig, *, seed: int) -> Synthetic:
    """Simulates users who compare responses by a planted basis and weights.

    `P(a chosen over b) = sigmoid(w_u . V'(e_a - e_b))`

    Memory is the table, some numbers a pair, and blocks of fixed size: any number of pairs over any
        dim.

    Args:
        config: what to simulate.
        seed: seed of everything.

    Returns:
        The preferences and the truth.

    Raises:
        ValueError: a number in `config` is not possible; the message names it.

    Example:
        >>> data = synthetic(SyntheticConfig(num_users=100, users="simplex"), seed=0)
        >>> data.prefs.num_pairs, data.weights.shape
        (4500, (100, 5))
    """
    _check(config)
    # A stream of random numbers each, so that more users do not change the responses.
    rng_table, rng_basis, rng_weights, rng_head, rng_pairs = np.random.default_rng(seed).spawn(5)

    spectrum = np.power(np.arange(1.0, config.dim + 1.0), -config.exponent)
    spectrum *= config.row_norm**2 / spectrum.sum()
    signs = rng_table.choice(np.array([-1.0, 1.0], np.float32), (2, config.dim))
    weights, prior, component = _draw_weights(config, rng_weights)
    scale = np.sqrt(_mean_square(config)) * (config.noise or 1.0)
    basis = _uncorrelated(rng_basis.standard_normal((config.dim, config.rank)), spectrum) / scale
    head = _correlated_head(
        basis @ np.asarray(prior.mean), spectrum, config.head_correlation, rng_head
    )
    basis, head = (
        _rotate(basis.T, signs).T.astype(np.float32),
        _rotate(head[None], signs)[0].astype(np.float32),
    )

    table, rewards = _draw_table(config, spectrum, signs, basis, rng_table)
    low, high = config.pairs_per_user
    count = rng_pairs.integers(low, high + 1, size=config.num_users)
    user = np.repeat(np.arange(config.num_users, dtype=np.int32), count)
    prompt, chosen, rejected, probability = _draw_pairs(config, user, weights, rewards, rng_pairs)
    prefs = from_arrays(
        table, chosen, rejected, user, prompt=prompt, num_users=config.num_users, head=head
    )
    model = Model(LinearBasis(config.rank), {"V": jnp.asarray(basis)}, jnp.ones(()), prior)
    return Synthetic(prefs, model, weights.astype(np.float32), probability, component)


def _mean_square(config: SyntheticConfig) -> float:
    """`E |w|^2`; the population's weights and each component's centre have norm sqrt(rank)."""
    if config.users == "simplex":
        return (config.alpha + 1.0) / (config.rank * config.alpha + 1.0)
    return config.rank * (1.0 + config.spread**2)


def _draw_weights(
    config: SyntheticConfig, rng: np.random.Generator
) -> tuple[np.ndarray, GaussianPrior | SimplexPrior, np.ndarray]:
    """Weights `[users, rank]`, the distribution they came from, and each user's component `[users]`."""
    component = np.zeros(config.num_users, np.int32)
    if config.users == "simplex":
        weights = rng.dirichlet(np.full(config.rank, config.alpha), config.num_users)
        mean = np.full(config.rank, 1.0 / config.rank)
        return (
            weights,
            SimplexPrior(jnp.asarray(mean, jnp.float32)),
            component,
        )
    centres = rng.standard_normal(
        (config.num_components if config.users == "mixture" else 1, config.rank)
    )
    centres *= np.sqrt(config.rank) / np.linalg.norm(centres, axis=1, keepdims=True)
    if config.users == "mixture":
        component = rng.permutation(
            np.arange(config.num_users, dtype=np.int32) % config.num_components
        )
    weights = centres[component] + config.spread * rng.standard_normal(
        (config.num_users, config.rank)
    )
    covariance = np.cov(centres, rowvar=False, bias=True).reshape(config.rank, config.rank)
    values, vectors = np.linalg.eigh(covariance + config.spread**2 * np.eye(config.rank))
    real = (
        values > 1e-9
    )  # without spread, components differ along fewer directions than there are columns
    factor = vectors[:, real] * np.sqrt(values[real])
    return (
        weights,
        GaussianPrior(jnp.asarray(centres.mean(0), jnp.float32), jnp.asarray(factor, jnp.float32)),
        component,
    )


def _uncorrelated(directions: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """`V A^-1/2` with `A = 2 V' diag(lambda) V`, the covariance of V's rewards over differences of
    responses.
    """
    values, vectors = np.linalg.eigh(2.0 * directions.T @ (spectrum[:, None] * directions))
    return directions @ (vectors / np.sqrt(values)) @ vectors.T


def _correlated_head(
    direction: np.ndarray, spectrum: np.ndarray, correlation: float, rng: np.random.Generator
) -> np.ndarray:
    """`rho v + sqrt(1 - rho^2) n`, where n's margins vary as much as v's and are uncorrelated with
    them, `[dim]`.
    """
    size = np.sqrt(spectrum @ direction**2)
    other = rng.standard_normal(len(direction))
    if size == 0.0:  # components that cancel each other out: there is nothing to be correlated with
        return other
    other -= direction * (spectrum @ (direction * other)) / size**2
    other *= size / np.sqrt(spectrum @ other**2)
    return correlation * direction + np.sqrt(1.0 - correlation**2) * other


def _draw_table(
    config: SyntheticConfig,
    spectrum: np.ndarray,
    signs: np.ndarray,
    basis: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The table `[responses, dim]` and its true rewards `[responses, rank]` (of the table as it is
    stored).
    """
    responses, deviation = (
        config.num_prompts * config.responses_per_prompt,
        np.sqrt(spectrum).astype(np.float32),
    )
    table = np.empty((responses, config.dim), jnp.dtype(config.dtype))
    rewards = np.empty((responses, config.rank), np.float32)
    rows = max(1, _ENTRIES_AT_A_TIME // config.dim)
    for start in range(0, responses, rows):
        block = table[start : start + rows]
        block[:] = _rotate(rng.standard_normal(block.shape, dtype=np.float32) * deviation, signs)
        rewards[start : start + rows] = block.astype(np.float32) @ basis
    return table, rewards


def _draw_pairs(
    config: SyntheticConfig,
    user: np.ndarray,
    weights: np.ndarray,
    rewards: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, ...]:
    """A random prompt for each entry of `user [pairs]`, two of its responses, and which of them the
    user chose.
    """
    prompt, chosen, rejected = (np.empty(len(user), np.int32) for _ in range(3))
    probability = np.empty(len(user), np.float32)
    replies = config.responses_per_prompt
    for start in range(0, len(user), _PAIRS_AT_A_TIME):
        block = slice(start, start + _PAIRS_AT_A_TIME)
        size = len(user[block])
        prompt[block] = rng.integers(config.num_prompts, size=size)
        reply = rng.integers(replies, size=size)
        a = prompt[block] * replies + reply
        b = prompt[block] * replies + (reply + rng.integers(1, replies, size=size)) % replies
        margin = np.einsum("pr,pr->p", weights[user[block]], rewards[a] - rewards[b])
        if config.noise:
            a_share = np.exp(np.asarray(LOGISTIC.predictive(margin, np.zeros_like(margin))))
        else:
            a_share = np.where(margin > 0, 1.0, 0.0)
        a_wins = rng.random(size) < a_share
        chosen[block], rejected[block] = np.where(a_wins, a, b), np.where(a_wins, b, a)
        probability[block] = np.where(a_wins, a_share, 1.0 - a_share)
    return prompt, chosen, rejected, probability


def _rotate(rows: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """`rows [n, dim]` times a fixed orthogonal matrix: signs, Hartley transform (its own inverse),
    signs.
    """
    transformed = np.fft.fft(rows * signs[0], norm="ortho")
    return (transformed.real - transformed.imag) * signs[1]


def _check(config: SyntheticConfig) -> None:
    least = {
        "num_users": 1,
        "num_prompts": 1,
        "responses_per_prompt": 2,
        "dim": 2,
        "rank": 1,
        "num_components": 1,
    }
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} is {getattr(config, name)}: {value} or more is expected")
    for name in ("spread", "noise", "exponent"):
        if not 0 <= getattr(config, name) < np.inf:
            raise ValueError(f"{name} is {getattr(config, name)}: 0 or more is expected")
    for name in ("alpha", "row_norm"):
        if not 0 < getattr(config, name) < np.inf:
            raise ValueError(f"{name} is {getattr(config, name)}: a positive number is expected")
    for name, choices in {
        "users": ("simplex", "gaussian", "mixture"),
        "dtype": ("float32", "float16", "bfloat16"),
    }.items():
        if getattr(config, name) not in choices:
            raise ValueError(
                f"{name} is {getattr(config, name)!r}: {' or '.join(map(repr, choices))} is expected"
            )
    if not -1 <= config.head_correlation <= 1:
        raise ValueError(
            f"head_correlation is {config.head_correlation}: a number from -1 to 1 is expected"
        )
    if config.rank > config.dim:
        raise ValueError(
            f"rank {config.rank} is above dim {config.dim}: columns of the basis must be independent"
        )
    low, high = config.pairs_per_user
    if not 0 <= low <= high:
        raise ValueError(
            f"pairs_per_user is {low, high}: (least, most) with 0 <= least <= most is expected"
        )
