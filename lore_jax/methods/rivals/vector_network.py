"""What methods share whose users each have a vector beside a network that all share.

    minimise over the network and everybody's d_u
    sum_u ( sum_i c_ui loss(z_ui(d_u)) + |d_u|^2 / 2 spread^2 ) / sum_u sum_i c_ui

together. The generic user has d = 0. A new user's d minimises the user's own term with the network
frozen (`user_vector`), so a user is known by the same objective in the fit and after it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.network import Hyper, Objective, Rows, Step, UserMargins
from lore_jax.methods.rivals.network_method import NetworkConfig
from lore_jax.methods.rivals.user_vector import fit_vector
from lore_jax.model.basis import Params
from lore_jax.solvers.likelihood import LOGISTIC


@dataclasses.dataclass(frozen=True)
class VectorNetworkConfig(NetworkConfig):
    """Adds the objective and the new user's fit; a method adds `vector_margins`.

    Attributes:
        spread: standard deviation of users' vectors around the generic one; None: chosen on
            validation.
    """

    DROPOUT: ClassVar[float] = 0.0  # how often a user is taken for the generic one

    spread: float | None = None

    def vector_margins(
        self, params: Params, rows: Rows, vector: Float[Array, " size"], pairs: Pairs
    ) -> Float[Array, " pairs"]:
        """Margins of the pairs of a user with this vector."""
        raise NotImplementedError

    def objective(self, params: Params, rows: Rows, step: Step) -> Objective:
        """The objective, of the users drawn: the pairs drawn stand for all pairs of their user."""
        drawn, vectors = step.drawn, step.vectors
        dropped = jax.random.bernoulli(step.key, self.DROPOUT, (len(drawn.users), 1))

        def of_user(vector: Array, pairs: Pairs, weight: Array) -> Array:
            margin = self.vector_margins(params, rows, vector, pairs)
            seen = jnp.sum(pairs.weight)
            share = weight / jnp.where(seen > 0, seen, 1.0)
            return share * jnp.sum(pairs.weight * LOGISTIC.loss(margin))

        worn = jnp.where(dropped, 0.0, vectors)
        losses = jax.vmap(of_user)(worn, drawn.pairs, drawn.weight)
        penalties = jnp.sum(vectors**2, axis=1) / (2.0 * step.hyper["spread"] ** 2)
        return Objective(jnp.sum(losses + penalties), jnp.sum(drawn.weight))

    def user_margins(
        self, params: Params, rows: Rows, shots: Pairs, targets: Pairs, hyper: Hyper
    ) -> UserMargins:
        """Margins at the vector that the shots give, taken to be certain."""
        vector = fit_vector(
            lambda vector: self.vector_margins(params, rows, vector, shots),
            jnp.asarray(shots.weight),
            self.vector_size,
            hyper["spread"],
        )
        margin = self.vector_margins(params, rows, vector, targets)
        return margin, jnp.zeros_like(margin)
