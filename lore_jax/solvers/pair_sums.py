"""Sums over a user's pairs and over columns, written so that a CPU vectorises over users.

Features are `[k, shots, ...]`, users in the trailing axes, so that neighbouring numbers belong to
neighbouring users and every addition is one of vectors. A reduction over the first or second axis
says the same, but XLA's CPU backend carries it out number by number: up to 50 times as slow where a
shard axis of one stands in front (`benchmarks/README.md`). Hence additions are written out: over
columns all of them, over pairs some at a time in a loop, whose sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_PAIRS_AT_A_TIME = 8


def combine(features: jax.Array, weights: jax.Array) -> jax.Array:
    """`f_i . w` of every pair: `[k, shots, ...]` and `[k, ...]` -> `[shots, ...]`."""
    zero = jnp.zeros_like(features, shape=features.shape[1:])
    out = sum((features[a] * weights[a][None] for a in range(len(features))), zero)
    return jax.lax.optimization_barrier(out)  # or XLA computes it anew for each of its users


def pull_together(features: jax.Array, pull: jax.Array) -> jax.Array:
    """`sum_i pull_i f_i`: `[k, shots, ...]` and `[shots, ...]` -> `[k, ...]`."""
    return _over_pairs(_pull_few_together, (features, 1), (pull, 0))


def sums_over_pairs(
    features: jax.Array, pull: jax.Array, curvature: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """`sum_i pull_i f_i`, and the lower triangle of `sum_i curvature_i f_i f_i'`.

    Row by row of the triangle: whatever is kept are vectors over users. A pair at a time would
    write and read the whole matrix for every pair.

    Args:
        features: f, `[k, shots, ...]`.
        pull: `[shots, ...]`.
        curvature: `[shots, ...]`.

    Returns:
        The sums, `[k, ...]` and `[k, k, ...]`; zeros above the diagonal.
    """
    pull, curvature = jax.lax.optimization_barrier((pull, curvature))
    return _over_pairs(_sums_over_few_pairs, (features, 1), (pull, 0), (curvature, 0))


def sums_over_answers(
    turn: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]],
    features: jax.Array,
    margin: jax.Array,
    weight: jax.Array,
    entries: int,
) -> tuple[jax.Array, jax.Array]:
    """`sums_over_pairs` where the features that count depend on the margins of an answer.

    They are made of some answers at a time, in the same loop: they never lie in memory.

    Args:
        turn: features, margins and weights of some answers to what `sums_over_pairs` takes.
        features: `[k, entries of all answers, ...]`.
        margin: `[entries of all answers, ...]`.
        weight: of each entry.
        entries: of an answer.

    Returns:
        As `sums_over_pairs`.
    """
    margin, weight = jax.lax.optimization_barrier((margin, weight))

    def few(*parts: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _sums_over_few_pairs(*jax.lax.optimization_barrier(turn(*parts)))

    block = _PAIRS_AT_A_TIME * entries
    return _over_pairs(few, (features, 1), (margin, 0), (weight, 0), block=block)


def quadratic_form(features: jax.Array, covariance: jax.Array) -> jax.Array:
    """A margin's variance, `f_i' S f_i`: `[k, shots, ...]`, `[k, k, ...]` to `[shots, ...]`."""
    out = jnp.zeros(features.shape[1:])
    for a in range(len(features)):
        # The off-diagonal entries stand twice in the sum; users stay in the trailing axis.
        row = features[a] * covariance[a, a][None]
        for b in range(a):
            row = row + features[b] * (2.0 * covariance[a, b])[None]
        out = out + features[a] * row
    return out


def _over_pairs(
    few: Callable[..., Any], *arrays: tuple[jax.Array, int], block: int = _PAIRS_AT_A_TIME
) -> Any:
    """Adds up what `few` makes of some pairs at a time; with each array the axis of its pairs."""
    first, axis = arrays[0]
    shots = first.shape[axis]
    if shots < 2 * block:  # what would hardly loop is unrolled
        return few(*[array for array, _ in arrays])

    def part(start: Any, size: int) -> Any:
        return few(
            *[jax.lax.dynamic_slice_in_dim(array, start, size, axis) for array, axis in arrays]
        )

    def add(i: jax.Array, sums: Any) -> Any:
        return jax.tree.map(jnp.add, sums, part(i * block, block))

    whole = shots // block
    sums = jax.lax.fori_loop(1, whole, add, part(0, block))
    if shots > whole * block:
        sums = jax.tree.map(jnp.add, sums, part(whole * block, shots - whole * block))
    return sums


def _pull_few_together(features: jax.Array, pull: jax.Array) -> jax.Array:
    zero = jnp.zeros_like(features, shape=(features.shape[0], *features.shape[2:]))
    return sum((features[:, i] * pull[i][None] for i in range(features.shape[1])), zero)


def _sums_over_few_pairs(
    features: jax.Array, pull: jax.Array, curvature: jax.Array
) -> tuple[jax.Array, jax.Array]:
    k, shots = features.shape[:2]
    zero = jnp.zeros_like(features, shape=(k, *features.shape[2:]))
    scaled = jax.lax.optimization_barrier(features * curvature[None])
    rows = []
    for a in range(k):
        row = sum((scaled[a, i][None] * features[: a + 1, i] for i in range(shots)), zero[: a + 1])
        rows.append(jnp.concatenate([jax.lax.optimization_barrier(row), zero[a + 1 :]]))
    return _pull_few_together(features, pull), jnp.stack(rows)
