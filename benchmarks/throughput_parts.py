"""What the benchmark's sections share: sizes, synthetic comparisons, and how long things take."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.prior import GaussianPrior, Prior, SimplexPrior

Row = dict[str, Any]
HAS_TORCH = importlib.util.find_spec("torch") is not None
ROW_NORM, SPECTRUM, NOISE, LATENT, SEED = 30.0, 1.0, 0.1, 256, 0  # of the embeddings


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    dim: int = 4096
    rank: int = 5
    users: int = 1000
    pairs: int = 45
    prompts: int = 1600
    steps: int = 1000
    timed_steps: int = 3
    new_users: int = 500
    shots: int = 9
    populations: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    score_users: int = 100_000
    longest: int = 600
    turns: int = 7


SMOKE = Sizes(64, 2, 20, 6, 30, 5, 1, 10, 3, (50, 200), 300, 4, 2)


def median_seconds(work: Callable[[], object], turns: int) -> float:
    """The median time of `work`, after a first call that compiles."""
    jax.block_until_ready(work())
    seconds = []
    for _ in range(turns):
        begun = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def read_bandwidth(nbytes: int, turns: int) -> float:
    """Bytes a second that a plain sum over a float32 array of a size reads on this device."""
    array = jnp.ones((max(1, nbytes // 4096), 1024), jnp.float32)
    return array.nbytes / median_seconds(lambda: plain_sum(array), turns)


plain_sum = jax.jit(lambda array: jnp.sum(array))


def pytorch_rows(
    work: str, steps: dict[str, Callable[[], Callable[[], float]]], counts: int, timed: int
) -> list[Row]:
    """Times a few steps of each method, made one after the other, and multiplies.

    Of short steps as many as take half a second: the first ones of a process are slow.
    """
    rows = []
    for name, make in steps.items():
        step = make()
        step()
        seconds: list[float] = []
        while len(seconds) < timed or sum(seconds) < 0.5:
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
        each = float(np.median(seconds))
        note = f"{counts:,} steps of {1e3 * each:,.4g} ms, {len(seconds)} timed"
        rows.append({"work": work, "method": name, "seconds": counts * each, "note": note})
    return rows


def embeddings(
    responses: int, dim: int, rng: np.random.Generator
) -> Float[np.ndarray, "responses dim"]:
    """Rows of one norm, with a power-law spectrum and noise in every direction."""
    latent = min(LATENT, dim)
    spectrum = (1.0 + np.arange(latent, dtype=np.float32)) ** -SPECTRUM
    loadings = rng.standard_normal((latent, dim), np.float32) * spectrum[:, None]
    table = rng.standard_normal((responses, latent), np.float32) @ loadings
    table += NOISE * rng.standard_normal((responses, dim), np.float32)
    return table * (ROW_NORM / np.linalg.norm(table, axis=1, keepdims=True))


def comparisons(size: Sizes, *, distinct: bool) -> tuple[Preferences, Preferences]:
    """Choices of simplex users between two replies to a prompt: to fit, and to test.

    The test is a third as many choices by the same users, between replies to any prompt.
    """
    rng = np.random.default_rng(SEED)
    pairs = size.users * size.pairs
    prompts, replies = (pairs, 2) if distinct else (size.prompts, 8)
    table = embeddings(prompts * replies, size.dim, rng)

    def draw(prompt: np.ndarray) -> np.ndarray:
        first = rng.integers(replies, size=len(prompt))
        second = (first + rng.integers(1, replies, size=len(prompt))) % replies
        return np.stack([prompt * replies + first, prompt * replies + second])

    def choose(prompt: np.ndarray, rows: np.ndarray) -> Preferences:
        user = np.repeat(np.arange(size.users), len(prompt) // size.users)
        margin = (
            np.sum((rewards[rows[0]] - rewards[rows[1]]) * weights[user], axis=1) / ROW_NORM * 3.0
        )
        swap = rng.random(len(prompt)) > 1.0 / (1.0 + np.exp(-margin))
        chosen, rejected = np.where(swap, rows[::-1], rows)
        return from_arrays(table, chosen, rejected, user, prompt=prompt)

    prompt = np.arange(pairs) if distinct else rng.integers(prompts, size=pairs)
    rows = draw(prompt)
    rewards = table @ rng.standard_normal((size.dim, size.rank), np.float32)
    weights = rng.dirichlet(np.full(size.rank, 0.3), size.users)
    train = choose(prompt, rows)
    prompt = rng.integers(prompts, size=size.users * (size.pairs // 3))
    return train, choose(prompt, draw(prompt))


def priors(rank: int) -> dict[str, Prior]:
    """The prior of users in each family."""
    return {
        "gaussian": GaussianPrior(jnp.zeros(rank), jnp.eye(rank)),
        "simplex": SimplexPrior(jnp.full(rank, 1.0 / rank)),
    }


def index_pairs(
    count: Int[np.ndarray, " users"], table: Float[np.ndarray, "responses rank"]
) -> Preferences:
    """Random pairs of a table of rewards, `count` of each user."""
    rng, pairs = np.random.default_rng(SEED), int(count.sum())
    chosen = rng.integers(len(table), size=pairs, dtype=np.int32)
    rejected = (chosen + rng.integers(1, len(table), size=pairs, dtype=np.int32)) % len(table)
    return from_arrays(
        table, chosen, rejected, np.repeat(np.arange(len(count)), count), num_users=len(count)
    )
