"""Davidson's ties: "no preference" is most probable where two responses are equally good.

    P(first) : P(tie) : P(second) = exp(z / 2) : nu : exp(-z / 2)

Of three outcomes with scores v = 1/2, 0 and -1/2, so that loss' is E[v] minus the outcome's own
score, loss'' the variance of v (at most 1/4), and |loss'''| at most that times the range of v, 1.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.quadrature import log_expected_probability


@pytree
class Davidson:
    """Pairs of which some are ties.

    Attributes:
        outcome: 2 where the first response is better, 1: a tie, 0: the second; shaped like the
            margins.
        log_nu: how frequent ties are: of two equal responses, nu / (2 + nu); shaped like the
            margins or a number.

    Example:
        >>> tie = Davidson(jnp.array(1), jnp.array(0.0))
        >>> round(float(jnp.exp(-tie.loss(jnp.array(0.0)))), 3)
        0.333

    Reference:
        Davidson 1970, "On extending the Bradley-Terry model to accommodate ties in paired
        comparison experiments".
    """

    outcome: Int[Array, "*any"]
    log_nu: Float[Array, "*#any"]

    @property
    def concordance(self) -> float:
        """The range of the three scores."""
        return 1.0

    @property
    def ceiling(self) -> float:
        """The largest variance of scores between -1/2 and 1/2."""
        return 0.25

    def loss(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`log(exp(z / 2) + nu + exp(-z / 2))` minus the outcome's own exponent."""
        _, _, total = self._weights(margin)
        score = 0.5 * (self.outcome - 1) * margin
        own = score + jnp.where(self.outcome == 1, self.log_nu, 0.0)
        return 0.5 * jnp.abs(margin) + jnp.log(total) - own

    def slope(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """`(P(first) - P(second) - outcome's) / 2`."""
        less, _, total = self._weights(margin)
        return 0.5 * (jnp.sign(margin) * (1.0 - less) / total - (self.outcome - 1))

    def curvature(self, margin: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """The variance of the score, `P(1) P(2) + P(tie) (P(1) + P(2)) / 4`."""
        less, tie, total = self._weights(margin)
        return (less + 0.25 * tie * (1.0 + less)) / total**2

    def predictive(
        self, mean: Float[Array, "*any"], variance: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """`log E[P(outcome)]`, by quadrature."""
        return log_expected_probability(self.loss, mean, variance)

    def _weights(self, margin: Array) -> tuple[Array, Array, Array]:
        """Of the less probable response, of a tie, and of all; that of the other one is 1."""
        root = jnp.exp(-0.5 * jnp.abs(margin))
        tie = jnp.exp(self.log_nu) * root
        return root**2, tie, 1.0 + root**2 + tie
