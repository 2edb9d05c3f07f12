"""Answers at random now and then, so that one slip does not turn a user's weights around.

    P(answer) = (1 - rate) P_0(answer) + rate / outcomes

The loss is not convex. With rho the probability that an answer was meant, rho loss_0 plus a
constant lies above it and touches it: so its slope is rho loss_0', and the curvature of that bound,
rho loss_0'', serves in its place (expectation maximisation inside Newton's method). The Hessian is
then positive, and a covariance from it is that of knowing which answers were meant: an optimistic
one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.likelihood import Likelihood


@pytree
class Lapse:
    """A likelihood, and a share of answers that say nothing.

    Start Newton's method at the mode without lapses.

    Attributes:
        meant: the likelihood of answers that were meant.
        rate: the share of the others, from 0 and below 1; traced.
        outcomes: how many different answers there are (static).
        entries: how many entries stand for an answer (static): 1, of a ranking its pairs.

    Example:
        >>> from lore_jax.solvers.likelihood import LOGISTIC
        >>> float(Lapse(LOGISTIC, jnp.array(0.1), 2).loss(jnp.array([-1e6]))[0])  # log 20
        2.995...

    Reference:
        Wichmann and Hill 2001, "The psychometric function: I" (lapse rates).
    """

    meant: Likelihood
    rate: Float[Array, ""]
    outcomes: int = static()
    entries: int = static(default=1)

    @property
    def concordance(self) -> None:
        """None: the loss is not convex."""
        return

    @property
    def ceiling(self) -> float:
        """The bound's curvature is at most that of the answers that were meant."""
        return self.meant.ceiling

    def loss(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """Minus the log probability, at the answer's first entry."""
        return self._at_first(-self.mixed(-self._of_answer(self.meant.loss(margin))), margin)

    def slope(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """`rho loss_0'`."""
        return self._rho(margin) * self.meant.slope(margin)

    def curvature(self, margin: Float[Array, "entries *any"]) -> Float[Array, "entries *any"]:
        """`rho loss_0''`, of the bound that touches the loss here."""
        return self._rho(margin) * self.meant.curvature(margin)

    def predictive(
        self, mean: Float[Array, "entries *any"], variance: Float[Array, "entries *any"]
    ) -> Float[Array, "entries *any"]:
        """The mixture of the prediction and of what says nothing."""
        log_probability = self._of_answer(self.meant.predictive(mean, variance))
        return self._at_first(self.mixed(log_probability), mean)

    def mixed(self, log_probability: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """Log probability of an answer from that of the same answer if it was meant."""
        rate = jnp.broadcast_to(self.rate, log_probability.shape)
        return jnp.logaddexp(jnp.log1p(-rate) + log_probability, jnp.log(rate / self.outcomes))

    def _rho(self, margin: Array) -> Array:
        log_probability = -self._of_answer(self.meant.loss(margin))
        rate = jnp.broadcast_to(self.rate, log_probability.shape)
        rho = jax.nn.sigmoid(log_probability + jnp.log1p(-rate) - jnp.log(rate / self.outcomes))
        return jnp.repeat(rho, self.entries, axis=0)

    def _of_answer(self, value: Array) -> Array:
        """The sum over an answer's entries, `[answers, ...]`."""
        if self.entries == 1:
            return value
        return jnp.sum(value.reshape(-1, self.entries, *value.shape[1:]), axis=1)

    def _at_first(self, value: Array, margin: Array) -> Array:
        if self.entries == 1:
            return value
        empty = jnp.zeros((len(value), self.entries, *value.shape[1:]))
        return empty.at[:, 0].set(value).reshape(margin.shape)
