"""A small model all of whose parts are uncertain, and five users: for tests of steering."""

import functools

import jax.numpy as jnp
import numpy as np

from lore_jax.model.basis import LinearBasis
from lore_jax.model.basis_posterior import BasisPosterior
from lore_jax.model.model import Model, response_keys
from lore_jax.model.prior import GaussianPrior, ItemEffects

DIM, RANK, USERS, RESPONSES = 6, 3, 5, 12
TABLE = np.random.default_rng(0).standard_normal((RESPONSES, DIM)).astype(np.float32)


@functools.cache
def model():
    """A linear basis with a posterior, and item effects: rows 0 and 1 of the table were judged."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.standard_normal((DIM, 2)))[0]
    basis_posterior = BasisPosterior(
        axes=jnp.asarray(axes, jnp.float32),
        factor=jnp.asarray(0.3 * rng.standard_normal((2, 2, 2)), jnp.float32),
        rest=jnp.array([0.02, 0.05]),
    )
    effects = ItemEffects(
        keys=jnp.asarray(response_keys(TABLE[:2])),
        values=jnp.asarray(rng.standard_normal((2, RANK)), jnp.float32),
        variance=jnp.array([0.1, 0.05, 0.05]),
        share=jnp.full((2, 2), 0.5),
    )
    factor = np.concatenate([np.zeros((1, 2)), np.eye(2)]).astype(np.float32)
    return Model(
        LinearBasis(RANK),
        {"V": jnp.asarray(rng.standard_normal((DIM, RANK)), jnp.float32)},
        jnp.asarray(2.0),
        GaussianPrior(jnp.array([1.0, 0.2, -0.1]), jnp.asarray(factor)),
        item_effects=effects,
        basis_posterior=basis_posterior,
    )


@functools.cache
def posterior():
    """Weights `[users, rank]` and covariances; column 0 is the population's."""
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((USERS, RANK)).astype(np.float32)
    weights[:, 0] = 1.0
    root = 0.5 * rng.standard_normal((USERS, RANK, RANK)).astype(np.float32)
    root[:, 0] = 0.0
    return weights, root @ root.transpose(0, 2, 1)
