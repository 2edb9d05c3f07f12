"""The predictor of rivals that end in a linear basis and a prior on it: a model like any other."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import BasisPredictor
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.users.adapt import adapt


def linear_predictor(
    directions: Float[np.ndarray, "dim k"],
    prior: GaussianPrior | SimplexPrior,
    prefs: Preferences,
) -> BasisPredictor:
    """A model of some directions, and the posterior of the users of the fit.

    Args:
        directions: for embeddings as they are.
        prior: of weights on them.
        prefs: the training pairs.

    Example:
        >>> prior = GaussianPrior(jnp.zeros(2), jnp.eye(2))
        >>> linear_predictor(np.eye(8, 2, dtype=np.float32), prior, prefs).model
        Model(LinearBasis, dim 8, rank 2, GaussianPrior)
    """
    params = {"V": jnp.asarray(directions)}
    model = Model(LinearBasis(directions.shape[1]), params, jnp.ones(()), prior)
    return BasisPredictor(model, adapt(model, prefs))
