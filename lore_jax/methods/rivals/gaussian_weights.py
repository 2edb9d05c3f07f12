"""What rivals share whose users have Gaussian weights on a given linear basis.

    z = w_u . (A e_chosen - A e_rejected),      w_u ~ N(mean, diag(spread^2))

The methods differ in where A comes from. A user is found by the same solver as the population
model's: the mode given the shots, and the Laplace covariance there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import BasisPredictor, Choice, FoldWeights, Prediction, predicted
from lore_jax.methods.defaults import WholeTable, columns_in_use
from lore_jax.methods.rivals.linear_predictor import linear_predictor
from lore_jax.model.prior import GaussianPrior
from lore_jax.parallel.buckets import FitData, Layout, features
from lore_jax.parallel.devices import first_shard
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.newton import map_estimate
from lore_jax.solvers.pair_sums import combine, quadratic_form


@pytree
class GaussianWeights:
    """A linear basis and the distribution of weights on it; variants in a leading axis.

    Attributes:
        directions: the rows of A as columns, for embeddings as they are, `[dim, k]`.
        mean: mean weights, `[k]`.
        spread: standard deviation of users' weights, `[k]`; 0 for columns out of use.
    """

    directions: Float[Array, "*variants dim k"]
    mean: Float[Array, "*variants k"]
    spread: Float[Array, "*variants k"]


class GaussianWeightsMethod(WholeTable):
    """The half of the contract that follows once `finish` has found `GaussianWeights`."""

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, " k"]]:
        """1 for the columns in use."""
        return columns_in_use(choices)

    def predict(
        self, fitted: GaussianWeights, data: FitData, fold: Sequence[FoldWeights], hyper: Any
    ) -> list[Prediction]:
        """By each user's mode given the shots, its uncertainty integrated."""
        predictions = []
        for bucket, roles in zip(data.buckets, fold, strict=True):

            def margins(
                variant: GaussianWeights,
                bucket: Any = bucket,
                shots: Array = roles.shots,
            ) -> tuple[Array, Array]:
                table = jnp.matmul(
                    data.table, variant.directions, preferred_element_type=jnp.float32
                )
                differences = features(table, bucket)
                offset = combine(differences, variant.mean[:, None])
                along = differences * variant.spread[:, None, None]
                start = jnp.zeros((along.shape[0], along.shape[2]))
                user = map_estimate(along, offset, shots, start, max_steps=20)
                mean = offset + combine(along, user.deviation)
                return mean, quadratic_form(along, user.covariance)

            predictions.append(predicted(LOGISTIC, *jax.lax.map(margins, fitted)))
        return predictions

    def export(self, fitted: GaussianWeights, layout: Layout, prefs: Preferences) -> BasisPredictor:
        """A model of the columns in use, and everybody's posterior."""
        (directions, mean, spread) = (
            np.asarray(first_shard(leaf))[0]
            for leaf in (fitted.directions, fitted.mean, fitted.spread)
        )
        used = spread != 0.0  # a NaN stays visible
        prior = GaussianPrior(jnp.asarray(mean[used]), jnp.diag(jnp.asarray(spread[used])))
        return linear_predictor(directions[:, used], prior, prefs)
