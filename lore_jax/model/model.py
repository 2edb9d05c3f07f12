"""Model: a fitted basis and the population of weights, with everything needed to use them on new
embeddings.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.model.basis import LinearBasis
from lore_jax.model.prior import ItemEffects, Population

_ROWS_AT_A_TIME = 4096  # of a table, so that a memory-mapped one is never copied whole


@flax.struct.dataclass
class Model:
    """A fitted reward model; a pytree, so that it passes through jit, vmap and sharding.

    Attributes:
        basis: the Flax module R (static).
        params: its parameters, a plain dict.
        input_scale: RMS row norm of the embeddings it was fitted on; the basis divides by it.
        population: the weights of a user about whom nothing is known.
        family: "gaussian" or "simplex" (static).
        temperature: margins are divided by it: 1 for gaussian weights, 100 in the paper (static).
        terms: the item effects, or None.
    """

    basis: nn.Module = flax.struct.field(pytree_node=False)
    params: Any
    input_scale: jax.Array
    population: Population
    family: str = flax.struct.field(pytree_node=False)
    temperature: float = flax.struct.field(pytree_node=False, default=1.0)
    terms: ItemEffects | None = None

    @property
    def rank(self) -> int:
        """The number of columns of the basis."""
        return self.population.mean.shape[0]


class Rewards(NamedTuple):
    """Rewards of a table.

    Attributes:
        table: `[responses, rank]`, float32, divided by the temperature: `weights . difference` is a
            margin in logits.
        variance: prior variance of what is not known of each response's rewards, `[responses,
            rank]`: 0 for responses of the fit and for models without terms.
    """

    table: jax.Array
    variance: jax.Array


def rewards(model: Model, embeddings: Any) -> Rewards:
    """The basis applied to a table, once, with the item effects where the fit has seen
    them.

    `R(e) / temperature + term of the response`. A response is recognised by its embedding, wherever
    it stands.

    Args:
        model: a fitted model.
        embeddings: `[responses, dim]`, of the same encoder as the fit's.

    Returns:
        The `Rewards`.

    Raises:
        ValueError: the embeddings are not as wide as those the model was fitted on.

    Example:
        >>> rewards(model, prefs.embeddings).table.shape
        (1000, 8)
    """
    width = input_width(model)
    if embeddings.shape[-1] != width:
        raise ValueError(
            f"embeddings have dim {embeddings.shape[-1]}, the model was fitted on dim {width}"
        )
    table = apply_basis(model, embeddings)
    if model.terms is None:
        return Rewards(table, jnp.zeros_like(table))
    row = _find(np.asarray(model.terms.keys), response_keys(embeddings))
    return _add_terms(table, model.terms, row)


@jax.jit
def apply_basis(model: Model, embeddings: jax.Array) -> jax.Array:
    """`R(e) / temperature`, `[responses, rank]`: what the text alone says; jit-able, no look at the
    host.
    """
    applied = model.basis.apply({"params": model.params}, embeddings, model.input_scale)
    return jnp.asarray(applied) / model.temperature


@jax.jit
def _add_terms(table: jax.Array, terms: ItemEffects, row: jax.Array) -> Rewards:
    known = (row >= 0)[:, None]
    return Rewards(
        table + jnp.where(known, terms.values[row], 0.0),
        jnp.where(known, 0.0, terms.variance[None]),
    )


def response_keys(embeddings: Any) -> np.ndarray:
    """A 64-bit key of each row of a table, the same for equal numbers in any float type: uint32
    `[responses, 2]`.
    """
    keys = bytearray()
    for start in range(0, embeddings.shape[0], _ROWS_AT_A_TIME):
        rows = np.ascontiguousarray(
            np.asarray(embeddings[start : start + _ROWS_AT_A_TIME], np.float32)
        )
        for row in rows:
            keys += hashlib.blake2b(row.data, digest_size=8).digest()
    return np.frombuffer(bytes(keys), np.uint32).reshape(-1, 2)


def _find(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted key among the known ones, -1 where there is none, int32 `[wanted]`."""
    known_keys, wanted_keys = (
        np.ascontiguousarray(keys).view(np.uint64)[:, 0] for keys in (known, wanted)
    )
    order = np.argsort(known_keys, kind="stable")
    place = order[
        np.minimum(np.searchsorted(known_keys, wanted_keys, sorter=order), len(order) - 1)
    ]
    return np.where(known_keys[place] == wanted_keys, place, -1).astype(np.int32)


def input_width(model: Model) -> int:
    """The dim of the embeddings the model was fitted on."""
    params = model.params
    return (
        params["V"] if isinstance(model.basis, LinearBasis) else params["Dense_0"]["kernel"]
    ).shape[-2]


def rms_row_norm(embeddings: Any) -> float:
    """Root mean square norm of the rows of a table `[responses, dim]`; 1 for a table of zeros."""
    starts = range(0, embeddings.shape[0], _ROWS_AT_A_TIME)
    blocks = (np.asarray(embeddings[i : i + _ROWS_AT_A_TIME], np.float32) for i in starts)
    total = sum(float(np.sum(block**2, dtype=np.float64)) for block in blocks)
    return float(np.sqrt(total / embeddings.shape[0])) or 1.0


def reference_head(head: np.ndarray) -> Model:
    """Rank 0: the reward model's own head as a model for everybody, with nothing learned.

    Args:
        head: the reference head, `[dim]`.

    Returns:
        A `Model` with one direction, the head, and weight 1.

    Example:
        >>> model = reference_head(prefs.head)
    """
    return bradley_terry_model(LinearBasis(1), {"V": jnp.asarray(head, jnp.float32)[:, None]}, 1.0)


def bradley_terry_model(basis: nn.Module, params: Any, input_scale: float) -> Model:
    """A model whose one direction serves everybody: weight 1, no spread."""
    population = Population(jnp.ones(1), jnp.zeros((1, 0)))
    return Model(basis, params, jnp.asarray(input_scale, jnp.float32), population, "gaussian")
