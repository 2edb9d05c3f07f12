"""Priors whose `solve` gives the mean of a user's weights where they have given the mode."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from lore_jax.model.prior import GaussianPrior, MixturePrior, Prior
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.solvers.newton import MapEstimate
from lore_jax.solvers.variational import mean_estimate, mean_under_mixture


@pytree
class GaussianMeanPrior(GaussianPrior):
    """A Gaussian prior, its users solved for by `variational.mean_estimate`."""

    def _estimate(
        self,
        features: Array,
        offset: Array,
        pair_weight: Array,
        start: Array | None,
        likelihood: Likelihood,
    ) -> MapEstimate:
        if start is None:
            start = jnp.zeros((self.factor.shape[1], *offset.shape[1:]))
        return mean_estimate(features, offset, pair_weight, start, likelihood=likelihood)


@pytree
class MixtureMeanPrior(MixturePrior):
    """A mixture prior, its users solved for by `variational.mean_under_mixture`."""

    def _estimate(
        self,
        features: Array,
        offset: Array,
        pair_weight: Array,
        start: Array | None,
        likelihood: Likelihood,
    ) -> MapEstimate:
        del start  # components begin at their centres
        return mean_under_mixture(
            features, offset, pair_weight, self.mixture, likelihood=likelihood
        )


def by_mean(prior: Prior) -> Prior:
    """The same prior, solving for means; one that is neither Gaussian nor a mixture as it is.

    Example:
        >>> by_mean(GaussianPrior(jnp.ones(2), jnp.eye(2)))  # doctest: +ELLIPSIS
        GaussianMeanPrior(...
    """
    if type(prior) is MixturePrior:
        return MixtureMeanPrior(prior.mean, prior.factor, prior.mixture)
    if type(prior) is GaussianPrior:
        return GaussianMeanPrior(prior.mean, prior.factor)
    return prior
