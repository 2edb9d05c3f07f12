"""Priors: what holds of a user's weights before any answer, and how answers move it.

A prior solves its users: it knows along which directions rewards matter to them, and the solver
that finds their weights. Whoever adapts asks for nothing else, so a new prior is a new class here.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from lore_jax.model.posterior import Components, Posterior
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.interior_point import simplex_estimate
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.solvers.mixture import Mixture, component_posteriors, mixture_estimate
from lore_jax.solvers.newton import MapEstimate, map_estimate

_PRECISE = jax.lax.Precision.HIGHEST  # of products of size rank, which cost nothing


class Prior(Protocol):
    """What is asked of a prior; a `pytree` class."""

    @property
    def mean(self) -> Float[Array, " rank"]:
        """Mean weights: those of a user about whom nothing is known."""
        ...

    @property
    def covariance(self) -> Float[Array, "rank rank"]:
        """Covariance of the weights; zeros without spread."""
        ...

    @property
    def warm_starts(self) -> bool:
        """Whether `solve` can begin at given weights."""
        ...

    def project(self, rewards: Float[Array, "*any rank"]) -> Float[Array, "*any columns"]:
        """Rewards along the directions that `solve` works with."""
        ...

    def solve(
        self,
        along: Float[Array, "columns shots *users"],
        pair_weight: Float[Array, "shots *users"],
        start: Float[Array, "rank *users"] | None = None,
        likelihood: Likelihood = LOGISTIC,
    ) -> Posterior:
        """Weights and posterior given projected differences of rewards; users in trailing axes."""
        ...

    @property
    def num_components(self) -> int:
        """The number of Gaussians that a user's posterior is a mixture of."""
        ...

    def components(
        self,
        along: Float[Array, "columns shots users"],
        pair_weight: Float[Array, "shots users"],
        likelihood: Likelihood = LOGISTIC,
    ) -> Components:
        """The same posterior as `solve`, component by component; users in front."""
        ...


class _OneComponent:
    """Of priors under which a user's posterior is a single Gaussian."""

    @property
    def num_components(self) -> int:
        """One."""
        return 1

    def components(
        self: Prior,
        along: Float[Array, "columns shots users"],
        pair_weight: Float[Array, "shots users"],
        likelihood: Likelihood = LOGISTIC,
    ) -> Components:
        """Weights and covariance of `solve`, as of one component; zeros where it has none."""
        return _as_one(self.solve(along, pair_weight, None, likelihood))


@pytree
class GaussianPrior(_OneComponent):
    """`w = mean + factor d`, `d ~ N(0, I)`.

    The covariance is kept as a factor because it is singular: the population direction of the
    population model has weight exactly 1 for everybody, and Bradley-Terry has no spread at all.

    Attributes:
        mean: mean weights, `[rank]`.
        factor: a factor of the covariance, `[rank, k]`, `k <= rank`.
    """

    mean: Float[Array, " rank"]
    factor: Float[Array, "rank k"]

    @property
    def covariance(self) -> Float[Array, "rank rank"]:
        """Covariance of the weights."""
        return self.factor @ self.factor.T

    @property
    def warm_starts(self) -> bool:
        """Newton's method begins anywhere."""
        return True

    def project(self, rewards: Float[Array, "*any rank"]) -> Float[Array, "*any columns"]:
        """Along the factor's columns, which turns the prior into N(0, I), and along the mean."""
        axes = jnp.concatenate([self.factor, self.mean[:, None]], axis=1)
        return jnp.matmul(rewards, axes, precision=_PRECISE)

    def solve(
        self,
        along: Float[Array, "columns shots *users"],
        pair_weight: Float[Array, "shots *users"],
        start: Float[Array, "rank *users"] | None = None,
        likelihood: Likelihood = LOGISTIC,
    ) -> Posterior:
        """The mode and the Laplace covariance there (`newton.map_estimate`)."""
        deviation = None if start is None else self._deviation(start)
        result = self._estimate(along[:-1], along[-1], pair_weight, deviation, likelihood)
        factor, users = self.factor, along.shape[2:]
        mean = self.mean.reshape(-1, *[1] * len(users))
        return Posterior(
            weights=mean + jnp.tensordot(factor, result.deviation, 1, precision=_PRECISE),
            covariance=jnp.einsum(
                "ra,ab...,sb->rs...", factor, result.covariance, factor, precision=_PRECISE
            ),
            shots=jnp.sum(pair_weight > 0, axis=0, dtype=jnp.int32),
            converged=result.converged,
            steps=result.steps,
            grad_norm=result.grad_norm,
        )

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
        return map_estimate(features, offset, pair_weight, start, likelihood=likelihood)

    def _deviation(self, weights: Array) -> Array:
        """The d with `mean + factor d = weights`, by least squares: columns are independent."""
        mean = self.mean.reshape(-1, *[1] * (weights.ndim - 1))
        gram = self.factor.T @ self.factor
        return jnp.tensordot(jnp.linalg.inv(gram) @ self.factor.T, weights - mean, 1)


@pytree
class MixturePrior(GaussianPrior):
    """`w = mean + factor d`, d a mixture of Gaussians with mean 0 and covariance I.

    A user's posterior is a mixture too; it is handed on by its mean and covariance.

    Attributes:
        mixture: the distribution of d.
    """

    mixture: Mixture

    @property
    def num_components(self) -> int:
        """Those out of use included."""
        return self.mixture.log_share.shape[0]

    def components(
        self,
        along: Float[Array, "columns shots users"],
        pair_weight: Float[Array, "shots users"],
        likelihood: Likelihood = LOGISTIC,
    ) -> Components:
        """The mixture's components given the comparisons (`mixture.component_posteriors`)."""
        found = component_posteriors(
            along[:-1], along[-1], pair_weight, self.mixture, likelihood=likelihood
        )
        moved = jnp.einsum("ra,cau->ucr", self.factor, found.deviation, precision=_PRECISE)
        covariance = jnp.einsum(
            "ra,cabu,sb->ucrs", self.factor, found.covariance, self.factor, precision=_PRECISE
        )
        return Components(found.log_share.T, self.mean[None, None] + moved, covariance)

    def _estimate(
        self,
        features: Array,
        offset: Array,
        pair_weight: Array,
        start: Array | None,
        likelihood: Likelihood,
    ) -> MapEstimate:
        return mixture_estimate(
            features, offset, pair_weight, self.mixture, start, likelihood=likelihood
        )


@pytree
class SimplexPrior(_OneComponent):
    """Weights are on the probability simplex, and nothing more is known of them.

    Attributes:
        mean: mean weights of the users of the fit, `[rank]`: what a user without shots gets.
    """

    mean: Float[Array, " rank"]

    @property
    def covariance(self) -> Float[Array, "rank rank"]:
        """Zeros: there is no prior distribution."""
        return jnp.zeros((*self.mean.shape, *self.mean.shape))

    @property
    def warm_starts(self) -> bool:
        """An interior point begins in the middle of the simplex."""
        return False

    def project(self, rewards: Float[Array, "*any rank"]) -> Float[Array, "*any columns"]:
        """The rewards themselves."""
        return rewards

    def solve(
        self,
        along: Float[Array, "columns shots *users"],
        pair_weight: Float[Array, "shots *users"],
        start: Float[Array, "rank *users"] | None = None,
        likelihood: Likelihood = LOGISTIC,
    ) -> Posterior:
        """The minimiser of the mean loss (`interior_point`), without covariance."""
        if start is not None:
            raise ValueError(
                "a simplex prior begins in the middle of the simplex: start must be None"
            )
        result = simplex_estimate(along, pair_weight, likelihood=likelihood)
        shots = jnp.sum(pair_weight > 0, axis=0, dtype=jnp.int32)
        mean = self.mean.reshape(-1, *[1] * (along.ndim - 2))
        weights = jnp.where(shots > 0, result.weights, mean)
        return Posterior(weights, None, shots, result.converged, result.steps, result.grad_norm)


def _as_one(posterior: Posterior) -> Components:
    """A posterior with users in trailing axes as one component with users in front."""
    weights = jnp.asarray(posterior.weights).T[:, None]
    users, _, rank = weights.shape
    if posterior.covariance is None:
        covariance = jnp.zeros((users, 1, rank, rank))
    else:
        covariance = jnp.moveaxis(jnp.asarray(posterior.covariance), -1, 0)[:, None]
    return Components(jnp.zeros((users, 1)), weights, covariance)


@pytree
class ItemEffects:
    """What the responses of the fit have of their own, beyond what the basis reads in their text.

    Attributes:
        keys: `response_keys` of the responses, uint32 `[n, 2]`.
        values: added to their rewards, `[n, rank]`.
        variance: prior variance of an effect, which a response not seen in the fit still has,
            `[rank]`.
        share: how much of that variance is left, and of what is uncertain of the basis, in the
            rewards of responses that were judged in the fit: of the population's column and of the
            others, `[n, 2]`.
    """

    keys: UInt32[Array, "n 2"]
    values: Float[Array, "n rank"]
    variance: Float[Array, " rank"]
    share: Float[Array, "n 2"]
