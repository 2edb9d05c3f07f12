"""Likelihoods: how probable a recorded choice is, given its margin; no other file knows a loss.

A likelihood is one object. Solvers, fits, metrics and predictions take it and know nothing else of
the feedback. What an answer said beyond "chosen rather than rejected" (a level, say), and
parameters that users share, are fields of the object: arrays shaped like the margins, or numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.pair_sums import sums_over_pairs


class Likelihood(Protocol):
    """What is asked of a likelihood; a `pytree` class, so that it passes through jit.

    Margins z are in logits and positive where the model agrees with the user. The loss must be
    convex in z.
    """

    @property
    def concordance(self) -> float | None:
        """M with `|loss'''| <= M loss''` everywhere; None: there is none."""
        ...

    @property
    def ceiling(self) -> float:
        """The largest second derivative of the loss."""
        ...

    def loss(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """Negative log-likelihood of each recorded choice, in nats."""
        ...

    def slope(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """The loss's derivative with respect to the margin."""
        ...

    def curvature(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """The loss's second derivative, 0 or more."""
        ...

    def predictive(
        self, mean: Float[Array, "*any"], variance: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """Log probability of each recorded choice under a Gaussian margin."""
        ...


@runtime_checkable
class AnswerLikelihood(Protocol):
    """What Newton's method needs where an answer's entries belong together; a part of `Segments`.

    The Hessian is then not diagonal in the margins, and the likelihood adds it up itself.
    """

    @property
    def concordance(self) -> float | None:
        """As a `Likelihood`'s, of the moves that `move` measures."""
        ...

    @property
    def ceiling(self) -> float:
        """The largest eigenvalue of the Hessian in the margins."""
        ...

    def loss(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Negative log-likelihood, somehow distributed over the entries of an answer."""
        ...

    def slope(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """The loss's gradient with respect to the margins."""
        ...

    def move(self, along: Float[Array, "entries *any"]) -> Float[Array, "*any"]:
        """The largest change of what an answer depends on, given those of the margins."""
        ...

    def sums(
        self,
        features: Float[Array, "k entries *any"],
        margin: Float[Array, "entries *any"],
        weight: Float[Array, "entries *any"],
    ) -> tuple[Float[Array, "k *any"], Float[Array, "k k *any"]]:
        """Minus the gradient in the weights, and the lower triangle of the Hessian."""
        ...


def newton_sums(
    likelihood: Likelihood | AnswerLikelihood,
    features: Float[Array, "k entries *any"],
    margin: Float[Array, "entries *any"],
    weight: Float[Array, "entries *any"],
) -> tuple[Float[Array, "k *any"], Float[Array, "k k *any"]]:
    """Minus the gradient of a user's loss in the weights, and the Hessian's lower triangle.

    Args:
        likelihood: of the entries.
        features: f, `[k, entries, ...]`.
        margin: `[entries, ...]`.
        weight: how much an entry counts, `[entries, ...]`.

    Returns:
        The sums, `[k, ...]` and `[k, k, ...]`; zeros above the diagonal.
    """
    if isinstance(likelihood, AnswerLikelihood):
        return likelihood.sums(features, margin, weight)
    pull = -weight * likelihood.slope(margin)
    return sums_over_pairs(features, pull, weight * likelihood.curvature(margin))


def largest_move(
    likelihood: Likelihood | AnswerLikelihood, along: Float[Array, "entries *any"]
) -> Float[Array, "*any"]:
    """The largest move that a likelihood's concordance is about, given those of the margins."""
    if isinstance(likelihood, AnswerLikelihood):
        return likelihood.move(along)
    return jnp.max(jnp.abs(along), axis=0, initial=0.0)


@pytree
class Logistic:
    """Bradley-Terry: `P(chosen) = sigmoid(z)`.

    Example:
        >>> float(Logistic().loss(jnp.zeros(())))  # log 2
        0.6931...

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 1.
    """

    @property
    def concordance(self) -> float:
        """`|1 - 2 s| <= 1`."""
        return 1.0

    @property
    def ceiling(self) -> float:
        """`s (1 - s) <= 1/4`."""
        return 0.25

    def loss(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`log(1 + exp(-z))`, as a softplus: `log(sigmoid(z))` underflows to -inf below z = -88."""
        return jax.nn.softplus(-margin)

    def slope(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`-sigmoid(-z)`."""
        return -jax.nn.sigmoid(-margin)

    def curvature(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`s (1 - s)`, `s = sigmoid(-z)`."""
        lost = jax.nn.sigmoid(-margin)
        return lost * (1.0 - lost)

    def predictive(
        self, mean: Float[Array, "*any"], variance: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """`log E[sigmoid(z)] ~ log sigmoid(mean / sqrt(1 + pi variance / 8))`.

        Reference:
            MacKay 1992, "The evidence framework applied to classification networks" (the probit
            approximation).
        """
        return -jax.nn.softplus(-mean / jnp.sqrt(1.0 + jnp.pi / 8.0 * variance))


LOGISTIC = Logistic()


Slope = Callable[[Float[Array, "*any"]], Float[Array, "*any"]]


def step_length(
    likelihood: Likelihood,
    move: Float[Array, "*any"],
    safe: Float[Array, "*any"],
    slope: Slope | None = None,
) -> Float[Array, "*any"]:
    """How much of a Newton step surely decreases a convex objective with this likelihood.

    Where `|phi'''| <= rho phi''` along the step, `rho = M move`, the share `log(1 + rho) / rho`
    decreases phi from anywhere, and at `rho <= 1` the same bound leaves the full step a decrease of
    a quarter of the squared decrement. Of other likelihoods the second derivative is bounded alone:
    then it is searched for along phi's slope (`search_length`), or, where that is not given, the
    minimiser of the parabola that has this bound for its curvature everywhere.

    Args:
        likelihood: with its bounds.
        move: the largest change of a margin that the full step makes, in logits.
        safe: the squared decrement over the curvature of that parabola along the step.
        slope: phi's slope after a share of the step, over minus its slope at the start.

    Returns:
        A share of the step, above 0 and at most 1.

    Reference:
        Bach 2010, arXiv 0910.4627; Sun and Tran-Dinh 2019, arXiv 1703.04599, section 4.1.
    """
    if likelihood.concordance is None:
        return jnp.minimum(safe, 1.0) if slope is None else search_length(slope, safe)
    rho = likelihood.concordance * move
    return jnp.where(rho <= 1.0, 1.0, jnp.log1p(rho) / rho)


_HALVINGS = 6


def search_length(slope: Slope, safe: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """How much of a Newton step is taken where no concordance tells: the first of 1, 1/2, 1/4, ...

    At its end a convex objective phi still falls, so it fell all the way, by half at least of what
    the direction has to give. (The parabola is as sure, but where the loss is far less curved than
    its ceiling it takes hundreds of steps.) A full step may overshoot by a little, or convergence
    would stay linear: let x be its slope there over minus phi's slope at the start. Between the two
    the slope is at most the parabola's and at most the end's, so `4 x <= safe (1 + 4 x + 2 x^2)`
    leaves it half of the decrease that `safe` is sure of.

    Args:
        slope: as in `step_length`.
        safe: as in `step_length`.

    Returns:
        A share of the step, above 0 and at most 1.
    """
    safe = jnp.minimum(safe, 1.0)
    end = slope(jnp.ones_like(safe))
    whole = (end <= 0.0) | (4.0 * end <= safe * (1.0 + 4.0 * end + 2.0 * end**2))

    def halve(_: Array, share: Array) -> Array:
        return jnp.where(slope(share) <= 0.0, share, 0.5 * share)

    share = jax.lax.fori_loop(0, _HALVINGS, halve, jnp.full_like(safe, 0.5))
    share = jnp.where(share > 0.5 ** (_HALVINGS + 1), jnp.maximum(share, safe), safe)
    return jnp.where(whole, 1.0, share)
