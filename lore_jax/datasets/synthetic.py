"""Synthetic preferences with their ground truth: basis, users' weights, probabilities of choices.

Responses. An embedding is `e = T diag(lambda)^1/2 g` with `g ~ N(0, I)`, a power law `lambda_j ~
j^-exponent` and a rotation T, so that no axis is special. T is a Hartley transform between random
signs: dim log dim operations a row.

Basis. Columns are random directions, made uncorrelated over differences of two responses:
`Cov[V'(e_a - e_b)] = I`. A user's margins then have variance `|w|^2`, whatever the spectrum. All
margins are finally divided by one number, so that their root mean square over users and pairs is
1 / noise logits.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, get_args, get_type_hints

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.solvers.likelihood import LOGISTIC

_ENTRIES_AT_A_TIME = 4_194_304  # of the table: 16 MB in float32
_PAIRS_AT_A_TIME = 262_144
_MOST_ROWS = 2**31 - 1  # counted in 32 bits


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """What to simulate.

    Attributes:
        num_users: the number of users.
        num_prompts: the number of prompts; 1 for a conversation in which all users judge the same
            responses.
        responses_per_prompt: responses of each prompt; a pair compares two of them.
        pairs_per_user: the least and the most pairs of a user, drawn evenly; 0 is allowed.
        dim: the length of an embedding.
        rank: the number of columns of the true basis.
        users: the distribution of weights. simplex: Dirichlet(alpha). gaussian: N(mean, spread^2
            I). mixture: the same around the means of several components.
        alpha: concentration of the Dirichlet distribution; small: most users weigh one column.
        spread: standard deviation of a user's weights around the mean, or the component's mean,
            whose entries have root mean square 1. 0: users (of a component) do not differ; 1: half
            of the variance of the margins is personal.
        num_components: the number of mixture components, equally large.
        noise: temperature of the choices: margins have root mean square 1 / noise logits. 0: the
            higher reward always wins, and the true margins have root mean square 1.
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
    """Simulated preferences and their ground truth.

    Attributes:
        prefs: the pairs, with the reference head.
        model: the true basis and prior of users as a `Model`: an oracle to adapt with.
        weights: each user's true weights, float32 `[users, rank]`.
        probability: the true probability of each recorded choice, float32 `[pairs]`; all 1 without
            noise.
        component: each user's mixture component, int32 `[users]`; all 0 without a mixture.
    """

    prefs: Preferences
    model: Model
    weights: Float[np.ndarray, "users rank"]
    probability: Float[np.ndarray, " pairs"]
    component: Int[np.ndarray, " users"]

    @property
    def basis(self) -> Float[np.ndarray, "dim rank"]:
        """The true basis V: `weights . V'(e_chosen - e_rejected)` is a margin in logits."""
        return np.asarray(self.model.params["V"])


def synthetic(config: SyntheticConfig, *, seed: int) -> Synthetic:
    """Simulates users who compare responses by a known basis and known weights.

    `P(a chosen over b) = sigmoid(w_u . V'(e_a - e_b))`

    Memory is the table, some numbers a pair, and buffers of fixed size.

    Args:
        config: what to simulate.
        seed: seed of everything.

    Returns:
        The preferences and the ground truth.

    Raises:
        ValueError: a number in `config` is not possible; the message names it.

    Example:
        >>> data = synthetic(SyntheticConfig(num_users=100, users="simplex"), seed=0)
        >>> data.prefs.num_pairs, data.weights.shape
        (4500, (100, 5))
    """
    _check(config)
    if seed < 0:
        raise ValueError(f"seed is {seed}: 0 or more is expected")
    # A stream of random numbers each, so that more users do not change the responses.
    rng_table, rng_basis, rng_weights, rng_head, rng_pairs = np.random.default_rng(seed).spawn(5)

    spectrum = np.power(np.arange(1.0, config.dim + 1.0), -config.exponent)
    spectrum *= config.row_norm**2 / spectrum.sum()
    signs = rng_table.choice(np.array([-1.0, 1.0], np.float32), (2, config.dim))
    weights, prior, component = _draw_weights(config, rng_weights)
    scale = np.sqrt(_mean_square(config)) * (config.noise or 1.0)
    basis = _uncorrelated(rng_basis.standard_normal((config.dim, config.rank)), spectrum) / scale
    population = basis @ np.asarray(prior.mean)
    head = _correlated_head(population, spectrum, config.head_correlation, rng_head)
    basis = _rotate(basis.T, signs).T.astype(np.float32)
    head = _rotate(head[None], signs)[0].astype(np.float32)

    table, rewards = _draw_table(config, spectrum, signs, basis, rng_table)
    low, high = config.pairs_per_user
    count = rng_pairs.integers(low, high + 1, size=config.num_users)
    user = np.repeat(np.arange(config.num_users, dtype=np.int32), count)
    prompt, chosen, rejected, probability = _draw_pairs(config, user, weights, rewards, rng_pairs)
    prefs = from_arrays(
        table, chosen, rejected, user, prompt=prompt, num_users=config.num_users, head=head
    )
    params = {"V": jnp.asarray(basis)}
    model = Model(LinearBasis(config.rank), params, input_scale=jnp.ones(()), prior=prior)
    return Synthetic(prefs, model, weights.astype(np.float32), probability, component)


def _mean_square(config: SyntheticConfig) -> float:
    """`E |w|^2`; the population's mean and each component's have norm sqrt(rank)."""
    if config.users == "simplex":
        return (config.alpha + 1.0) / (config.rank * config.alpha + 1.0)
    return config.rank * (1.0 + config.spread**2)


def _draw_weights(
    config: SyntheticConfig, rng: np.random.Generator
) -> tuple[np.ndarray, GaussianPrior | SimplexPrior, np.ndarray]:
    """Weights `[users, rank]`, their prior, and each user's component `[users]`."""
    component = np.zeros(config.num_users, np.int32)
    if config.users == "simplex":
        weights = rng.dirichlet(np.full(config.rank, config.alpha), config.num_users)
        mean = jnp.full(config.rank, 1.0 / config.rank)
        return weights, SimplexPrior(mean=mean), component
    num_components = config.num_components if config.users == "mixture" else 1
    means = rng.standard_normal((num_components, config.rank))
    means *= np.sqrt(config.rank) / np.linalg.norm(means, axis=1, keepdims=True)
    if config.users == "mixture":
        component = rng.permutation(np.arange(config.num_users, dtype=np.int32) % num_components)
    deviation = config.spread * rng.standard_normal((config.num_users, config.rank))
    covariance = np.cov(means, rowvar=False, bias=True).reshape(config.rank, config.rank)
    values, vectors = np.linalg.eigh(covariance + config.spread**2 * np.eye(config.rank))
    # Without spread, the components' means differ along fewer directions than there are columns.
    is_positive = values > 1e-9
    factor = vectors[:, is_positive] * np.sqrt(values[is_positive])
    mean, factor = jnp.asarray(means.mean(0), jnp.float32), jnp.asarray(factor, jnp.float32)
    return means[component] + deviation, GaussianPrior(mean=mean, factor=factor), component


def _uncorrelated(directions: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
    """`V A^-1/2`, where `A = 2 V' diag(lambda) V` is the covariance of V's rewards of a pair."""
    values, vectors = np.linalg.eigh(2.0 * directions.T @ (spectrum[:, None] * directions))
    return directions @ (vectors / np.sqrt(values)) @ vectors.T


def _correlated_head(
    direction: np.ndarray, spectrum: np.ndarray, correlation: float, rng: np.random.Generator
) -> np.ndarray:
    """`rho v + sqrt(1 - rho^2) n`; n's margins vary as much as v's, uncorrelated with them."""
    size = np.sqrt(spectrum @ direction**2)
    other = rng.standard_normal(len(direction))
    if size == 0.0:  # the components' means cancel each other out: no direction to correlate with
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
    """The table `[responses, dim]`, and the rewards of its stored entries `[responses, rank]`."""
    responses = config.num_prompts * config.responses_per_prompt
    deviation = np.sqrt(spectrum).astype(np.float32)
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
    """Prompt, chosen, rejected, and the choice's probability for each entry of `user [pairs]`."""
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
            loss = LOGISTIC.loss(jnp.asarray(margin, jnp.float32))
            a_share = np.exp(-np.asarray(loss, np.float64))
        else:
            a_share = np.where(margin > 0, 1.0, 0.0)
        a_wins = rng.random(size) < a_share
        chosen[block], rejected[block] = np.where(a_wins, a, b), np.where(a_wins, b, a)
        probability[block] = np.where(a_wins, a_share, 1.0 - a_share)
    return prompt, chosen, rejected, probability


def _rotate(rows: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """`rows [n, dim]` times an orthogonal matrix: a Hartley transform between random signs."""
    transformed = np.fft.fft(rows * signs[0], norm="ortho")
    return (transformed.real - transformed.imag) * signs[1]


def _check(config: SyntheticConfig) -> None:
    def require(name: str, is_valid: bool, expected: str) -> None:
        if not is_valid:
            raise ValueError(f"{name} is {getattr(config, name)!r}: {expected} is expected")

    for name in ("num_users", "num_prompts", "rank", "num_components"):
        require(name, getattr(config, name) >= 1, "1 or more")
    for name in ("responses_per_prompt", "dim"):
        require(name, getattr(config, name) >= 2, "2 or more")
    for name in ("spread", "noise", "exponent"):
        require(name, 0 <= getattr(config, name) < np.inf, "0 or more")
    for name in ("alpha", "row_norm"):
        require(name, 0 < getattr(config, name) < np.inf, "a positive number")
    for name in ("users", "dtype"):
        choices = get_args(get_type_hints(SyntheticConfig)[name])
        require(name, getattr(config, name) in choices, " or ".join(map(repr, choices)))
    require("head_correlation", -1 <= config.head_correlation <= 1, "a number from -1 to 1")
    rank, dim, (low, high) = config.rank, config.dim, config.pairs_per_user
    if rank > dim:
        raise ValueError(f"rank {rank} is above dim {dim}: at most {dim} is expected")
    require("pairs_per_user", 0 <= low <= high, "(least, most) with 0 <= least <= most")
    counts = {
        f"{config.num_users} users with up to {high} pairs": config.num_users * max(high, 1),
        f"{config.num_prompts} prompts with {config.responses_per_prompt} responses": (
            config.num_prompts * config.responses_per_prompt
        ),
    }
    for text, count in counts.items():
        if count > _MOST_ROWS:
            raise ValueError(f"{text} are too many: at most {_MOST_ROWS:,} rows are expected")
