"""Model: a fitted basis and the population of weights, with everything needed to use them on new embeddings."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.basis import LinearBasis


@flax.struct.dataclass
class Population:
    """What holds of a user's weights before the user has said anything: `w = mean + factor d`, `d ~ N(0, I)`.

    The covariance is kept as a factor because it is singular: the population direction of the gaussian family has
    weight exactly 1 for everybody, and rank-1 (Bradley-Terry) and simplex models have no spread at all.

    Attributes:
        mean: mean weights, `[rank]`.
        factor: a factor of the covariance, `[rank, k]`, `k <= rank`.
    """

    mean: jax.Array
    factor: jax.Array

    @property
    def covariance(self) -> jax.Array:
        """Covariance of the weights, `[rank, rank]`."""
        return self.factor @ self.factor.T


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
    """

    basis: nn.Module = flax.struct.field(pytree_node=False)
    params: Any
    input_scale: jax.Array
    population: Population
    family: str = flax.struct.field(pytree_node=False)
    temperature: float = flax.struct.field(pytree_node=False, default=1.0)

    @property
    def rank(self) -> int:
        """The number of columns of the basis."""
        return self.population.mean.shape[0]


def rewards(model: Model, embeddings: jax.Array) -> jax.Array:
    """The basis applied to a table, once: `R(e) / temperature`, so that `weights . difference` is a margin in logits.

    Args:
        model: a fitted model.
        embeddings: `[responses, dim]`, of the same encoder as the fit's.

    Returns:
        `[responses, rank]`, float32.

    Raises:
        ValueError: the embeddings are not as wide as those the model was fitted on.

    Example:
        >>> rewards(model, prefs.embeddings).shape
        (1000, 8)
    """
    check_width(model, embeddings)
    return _rewards(model, embeddings)


def check_width(model: Model, embeddings: Any) -> None:
    """Refuses embeddings of another width than the model's, for which any product would be nonsense."""
    params = model.params
    width = (params["V"] if isinstance(model.basis, LinearBasis) else params["Dense_0"]["kernel"]).shape[-2]
    if embeddings.shape[-1] != width:
        raise ValueError(f"embeddings have dim {embeddings.shape[-1]}, the model was fitted on dim {width}")


@jax.jit
def _rewards(model: Model, embeddings: jax.Array) -> jax.Array:
    applied = model.basis.apply({"params": model.params}, embeddings, model.input_scale)
    return jnp.asarray(applied) / model.temperature


def rms_row_norm(embeddings: Any) -> float:
    """Root mean square norm of the rows of a table `[responses, dim]`; 1 for a table of zeros."""
    rows = 4096
    blocks = (np.asarray(embeddings[i : i + rows], np.float32) for i in range(0, embeddings.shape[0], rows))
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
