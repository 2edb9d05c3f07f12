"""Model: a fitted basis and the prior of the weights, ready for new embeddings."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.model.basis import LinearBasis, Params, apply_to_table, input_width
from lore_jax.model.basis_posterior import (
    KINDS,
    BasisPosterior,
    by_column,
    response_uncertainty,
)
from lore_jax.model.prior import GaussianPrior, ItemEffects, Prior
from lore_jax.parallel.devices import filled_up
from lore_jax.parallel.pytree import pytree, static
from lore_jax.parallel.table_rows import StreamedTable, Table, as_table
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood

_ROWS_AT_A_TIME = 4096  # of a table, so that a memory-mapped one is never copied whole


@pytree
class Model:
    """A fitted reward model; a pytree, so that it passes through jit, vmap and sharding.

    Attributes:
        basis: the Flax module R (static).
        params: its parameters, a plain dict.
        input_scale: RMS row norm of the embeddings it was fitted on; the basis divides by it.
        prior: the weights of a user about whom nothing is known.
        temperature: margins are divided by it: 1, or 100 in the paper (static).
        item_effects: what responses have of their own, or None.
        likelihood: how probable a choice is, given its margin.
        basis_posterior: what the fit does not know of the basis, or None: it is taken as it is.
        encoder: what made the embeddings of the fit (`data/encoder_identity.py`), so that new texts
            of another encoder are refused; None: nobody knows (static).
    """

    basis: nn.Module = static()
    params: Params
    input_scale: Float[Array, ""]
    prior: Prior
    temperature: float = static(default=1.0)
    item_effects: ItemEffects | None = None
    likelihood: Likelihood = LOGISTIC
    basis_posterior: BasisPosterior | None = None
    encoder: str | None = static(default=None)

    @property
    def rank(self) -> int:
        """The number of columns of the basis."""
        return self.prior.mean.shape[0]

    def __repr__(self) -> str:
        """One line of sizes."""
        prior = type(self.prior).__name__
        effects = self.item_effects
        more = "" if effects is None else f", {len(effects.keys):,} item effects"
        dim = input_width(self.params)
        return f"Model({type(self.basis).__name__}, dim {dim}, rank {self.rank}, {prior}{more})"


class Rewards(NamedTuple):
    """Rewards of a table, and what is not known of them.

    Attributes:
        table: `[responses, rank]`, float32, divided by the temperature: `weights . difference` is a
            margin in logits.
        variance: variance of what is not known of each response for itself, `[responses, rank]`.
        coordinates: of what is not known of all responses together (`basis_posterior`), of column
            0 and of the others, `[2, responses, q]`; q is 0 where the basis is taken as it is.
    """

    table: Float[Array, "responses rank"]
    variance: Float[Array, "responses rank"]
    coordinates: Float[Array, "2 responses q"]


def rewards(model: Model, embeddings: Any) -> Rewards:
    """The basis applied to a table, once, with the item effects that the fit has seen.

    `R(e) / temperature + effect of the response`. A response is recognised by its embedding,
    wherever it stands.

    Args:
        model: a fitted model.
        embeddings: `[responses, dim]`, of the same encoder as the fit's.

    Returns:
        The `Rewards`.

    Raises:
        ValueError: the embeddings are not as wide as those the model was fitted on.

    Example:
        >>> rewards(model, prefs.embeddings).table.shape == (prefs.num_responses, 3)
        True
    """
    table = as_table(embeddings)
    model, row = _looked_up(model, embeddings)
    found = _rewards(model, table, row)
    return jax.block_until_ready(found) if isinstance(table, StreamedTable) else found


def table_of_rewards(model: Model, embeddings: Any) -> Float[Array, "responses rank"]:
    """`rewards(model, embeddings).table` alone: what is not known of it takes no memory."""
    table = as_table(embeddings)
    model, row = _looked_up(model, embeddings)
    found = _rewards_alone(model, table, row)
    return found.block_until_ready() if isinstance(table, StreamedTable) else found


def _looked_up(model: Model, embeddings: Any) -> tuple[Model, np.ndarray | None]:
    """Where each response stands among those with an item effect; None: there are none.

    Item effects are filled up, so that models share a program.
    """
    width = input_width(model.params)
    if embeddings.shape[-1] != width:
        raise ValueError(
            f"embeddings have dim {embeddings.shape[-1]}, the model was fitted on dim {width}"
        )
    if model.item_effects is None:
        return model, None
    effects = model.item_effects
    row = find_responses(np.asarray(effects.keys), response_keys(embeddings))
    columns = {name: filled_up(getattr(effects, name)) for name in ("keys", "values", "share")}
    return dataclasses.replace(model, item_effects=dataclasses.replace(effects, **columns)), row


@jax.jit
def apply_basis(model: Model, embeddings: Table) -> jax.Array:
    """`R(e) / temperature`: what the text alone says; no look at the host."""
    applied = apply_to_table(model.basis, model.params, embeddings, model.input_scale)
    return applied / model.temperature


@jax.jit
def _rewards_alone(model: Model, embeddings: Table, row: jax.Array | None) -> jax.Array:
    return _rewards(model, embeddings, row).table


def rewards_as_new(model: Model, embeddings: jax.Array) -> Rewards:
    """The same where no response is looked for among those that the fit has seen."""
    return _rewards(model, embeddings, jnp.full(embeddings.shape[0], -1, jnp.int32))


@jax.jit
def _rewards(model: Model, embeddings: Table, row: jax.Array | None) -> Rewards:
    """Rewards, given where each response stands among those with an item effect; -1: nowhere."""
    table, effects = apply_basis(model, embeddings), model.item_effects
    count = table.shape[0]
    variance, share = jnp.zeros_like(table), jnp.ones((count, KINDS))
    if effects is not None and row is not None:
        known = (row >= 0)[:, None]
        table += jnp.where(known, effects.values[row], 0.0)
        share = jnp.where(known, effects.share[row], 1.0)
        variance = effects.variance[None] * by_column(share, model.rank)
    if model.basis_posterior is None:
        return Rewards(table, variance, jnp.zeros((KINDS, count, 0)))
    basis = response_uncertainty(model.basis_posterior, embeddings, model.input_scale)
    variance += by_column(share**2 * basis.variance, model.rank)
    return Rewards(table, variance, share.T[:, :, None] * basis.coordinates)


def response_keys(embeddings: Any) -> np.ndarray:
    """A 64-bit key of each row of a table, the same for equal numbers in any float type."""
    keys = bytearray()
    for start in range(0, embeddings.shape[0], _ROWS_AT_A_TIME):
        rows = np.ascontiguousarray(
            np.asarray(embeddings[start : start + _ROWS_AT_A_TIME], np.float32)
        )
        for row in rows:
            keys += hashlib.blake2b(row.data, digest_size=8).digest()
    return np.frombuffer(bytes(keys), np.uint32).reshape(-1, 2)


def find_responses(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted key among the known ones, -1 where there is none, int32 `[wanted]`."""
    known_keys, wanted_keys = (
        np.ascontiguousarray(keys).view(np.uint64)[:, 0] for keys in (known, wanted)
    )
    order = np.argsort(known_keys, kind="stable")
    row = order[np.minimum(np.searchsorted(known_keys, wanted_keys, sorter=order), len(order) - 1)]
    return np.where(known_keys[row] == wanted_keys, row, -1).astype(np.int32)


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


def bradley_terry_model(
    basis: nn.Module,
    params: Params,
    input_scale: float | Float[Array, ""],
    likelihood: Likelihood = LOGISTIC,
) -> Model:
    """A model whose one direction serves everybody: weight 1, no spread."""
    prior = GaussianPrior(jnp.ones(1), jnp.zeros((1, 0)))
    scale = jnp.asarray(input_scale, jnp.float32)
    return Model(basis, params, scale, prior, likelihood=likelihood)
