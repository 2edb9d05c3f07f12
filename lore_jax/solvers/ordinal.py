"""Ordered levels: strengths of a preference, votes, ratings, and Rao and Kupper's ties.

    P(level <= k) = sigmoid(a_k - z),        a_0 < a_1 < ...

With the level's own cut points l below and u above, and since u - l does not depend on z,

    -log P(level) = softplus(z - u) + softplus(l - z) - log(1 - exp(l - u)):

two logistic losses and a constant. So the curvature is positive everywhere, its ceiling is twice
the logistic's, and `|loss'''| <= loss''` holds as it does for each of the two: Newton's steps are
damped as for pairs.

With three levels and cut points -a and a this is the model of ties of Rao and Kupper.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.quadrature import log_expected_probability

_BEYOND = 1e6  # the cut point below the first level, and above the last


@pytree
class CumulativeLogit:
    """The level that was said, by its cut points; made by `cumulative_logit`.

    Attributes:
        lower: l, the cut point below each level, shaped like the margins.
        upper: u, the cut point above it.
    """

    lower: Float[Array, "*any"]
    upper: Float[Array, "*any"]

    @property
    def concordance(self) -> float:
        """That of each of the two logistic losses."""
        return 1.0

    @property
    def ceiling(self) -> float:
        """Twice the logistic's."""
        return 0.5

    def loss(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`softplus(z - u) + softplus(l - z) - log(1 - exp(l - u))`."""
        constant = jnp.log(-jnp.expm1(self.lower - self.upper))
        ends = jax.nn.softplus(margin - self.upper), jax.nn.softplus(self.lower - margin)
        return ends[0] + ends[1] - constant

    def slope(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`sigmoid(z - u) - sigmoid(l - z)`."""
        return jax.nn.sigmoid(margin - self.upper) - jax.nn.sigmoid(self.lower - margin)

    def curvature(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`s (1 - s)` of both."""
        above, below = jax.nn.sigmoid(margin - self.upper), jax.nn.sigmoid(self.lower - margin)
        return above * (1.0 - above) + below * (1.0 - below)

    def predictive(
        self, mean: Float[Array, "*any"], variance: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """`log E[P(level)]`, by quadrature."""
        return log_expected_probability(self.loss, mean, variance)


def cumulative_logit(level: Int[Array, "*any"], cuts: Float[Array, " cuts"]) -> CumulativeLogit:
    """The likelihood of levels, `0 .. cuts`, given the cut points between them.

    Args:
        level: what was said, the lowest level 0.
        cuts: increasing, in logits.

    Returns:
        The likelihood of these answers.

    Example:
        >>> likelihood = cumulative_logit(jnp.array([0, 1, 2]), jnp.array([-1.0, 1.0]))
        >>> round(float(jnp.sum(jnp.exp(-likelihood.loss(jnp.full(3, 0.3))))), 4)
        1.0

    Reference:
        McCullagh 1980, "Regression models for ordinal data"; Rao and Kupper 1967, "Ties in
        paired-comparison experiments".
    """
    ends = jnp.full(1, _BEYOND)
    padded = jnp.concatenate([-ends, jnp.asarray(cuts), ends])
    return CumulativeLogit(padded[level], padded[jnp.asarray(level) + 1])
