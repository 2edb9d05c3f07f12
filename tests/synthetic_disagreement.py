"""Random models and users, and the dense users x responses matrix that the library never forms."""

import jax.numpy as jnp
import numpy as np

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior


def random_users(seed=0, *, users=30, responses=50, dim=6, rank=4):
    """Random rewards, a population mean that is not 0, and users around it."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=rank)
    model = Model(
        LinearBasis(rank),
        {"V": jnp.asarray(rng.normal(size=(dim, rank)), jnp.float32)},
        jnp.ones(()),
        GaussianPrior(jnp.asarray(mean, jnp.float32), jnp.eye(rank)),
    )
    table = rng.normal(size=(responses, dim)).astype(np.float32)
    return model, (mean + rng.normal(size=(users, rank))).astype(np.float32), table


def disagreement(model, weights, table, prompt=None):
    """D itself, users x responses; centred over users and within prompts."""
    rewards = np.asarray(table, np.float64) @ np.asarray(model.params["V"], np.float64)
    for one in [None] if prompt is None else np.unique(prompt):
        rows = slice(None) if one is None else prompt == one
        rewards[rows] -= rewards[rows].mean(axis=0)
    return (weights.astype(np.float64) - weights.mean(axis=0, dtype=np.float64)) @ rewards.T
