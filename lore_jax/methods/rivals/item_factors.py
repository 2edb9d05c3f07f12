"""Factors of responses where no text is read: a table that says nothing, and a start for them.

In the space of responses a response's embedding is a unit vector of its own. The direction of ridge
Bradley-Terry is then the responses' effects b. Factors start along the directions in which users
depart from it most (`gaussian.initial_directions`), with a root mean square of half a logit over
the responses judged.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.gaussian.initial_directions import score_directions
from lore_jax.methods.gaussian.laplace_em import PopulationState
from lore_jax.parallel.buckets import FitData
from lore_jax.parallel.devices import total

_START_SIZE = 0.5  # of a response's factor, in logits


def blank(data: FitData) -> FitData:
    """The same pairs over a table that says nothing."""
    return dataclasses.replace(data, embeddings=jnp.zeros(data.embeddings.shape), outside=None)


def with_factors(state: PopulationState, data: FitData, key: jax.Array) -> PopulationState:
    """The state with a basis of 0, and factors beside the effects.

    Args:
        state: of the population model on the blank table.
        data: one shard.
        key: for the directions.

    Returns:
        A state whose item effects are b and F side by side, `[responses, 1 + k]`.
    """
    effects = state.params["item_effects"]
    itself = dataclasses.replace(data, embeddings=jnp.eye(len(effects)), outside=None)
    factors = score_directions(itself, effects[:, 0], key, effects.shape[1] - 1)
    start = effects.at[:, 1:].set(_START_SIZE * jnp.sqrt(_num_judged(data)) * factors)
    basis = jax.tree.map(jnp.zeros_like, state.params["basis"])
    return dataclasses.replace(state, params={"basis": basis, "item_effects": start})


def _num_judged(data: FitData) -> Float[Array, ""]:
    """How many responses stand in a pair: the table may have others."""
    pairs = jnp.zeros(data.embeddings.shape[0])
    for bucket in data.buckets:
        for side in (bucket.chosen, bucket.rejected):
            pairs = pairs.at[side].add(jnp.asarray(bucket.pair_weight))
    return jnp.sum(total(pairs) > 0).astype(jnp.float32)
