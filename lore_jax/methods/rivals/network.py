"""What training and predictions ask of a network that knows a user by pairs.

All that touches embeddings is the first layer, `rows`: the table goes through it once, and what
follows gathers rows of the result. So nothing of the size of all pairs is formed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.methods.rivals.draws import Drawn, Pairs
from lore_jax.model.basis import Params

Hyper = dict[str, Array]  # what validation chooses, by the names of the fields
Rows: TypeAlias = Float[Array, "responses width"]  # the table behind the first layer
Scale: TypeAlias = Float[Array, ""] | float  # what embeddings are divided by
UserMargins: TypeAlias = tuple[Float[Array, " targets"], Float[Array, " targets"]]


class Step(NamedTuple):
    """What a training step gives the objective.

    Attributes:
        drawn: users, and pairs of each.
        vectors: of these users; of length 0 where users have none.
        hyper: what validation chooses.
        key: for further draws.
        progress: the share of the steps that lie behind.
    """

    drawn: Drawn
    vectors: Float[Array, "drawn size"]
    hyper: Hyper
    key: jax.Array
    progress: Float[Array, ""]

    def over_users(self, of_user: Callable[[jax.Array, Pairs], tuple[Array, Array]]) -> Objective:
        """Sums of the users' losses and weights, each found with a key of the user's own."""
        keys = jax.random.split(self.key, len(self.drawn.users))
        losses, weights = jax.vmap(of_user)(keys, self.drawn.pairs)
        return Objective(jnp.sum(losses), jnp.sum(weights))


class Objective(NamedTuple):
    """What a shard's draw says, in sums, so that shards add up.

    Attributes:
        loss: what is minimised, times `weight`.
        weight: what it is divided by.
    """

    loss: Float[Array, ""]
    weight: Float[Array, ""]


class UserNetwork:
    """A network, hashable; all numbers that are chosen reach it by `hyper`."""

    @property
    def vector_size(self) -> int:
        """The length of the vector that each user has; 0: users have none."""
        return 0

    def init_params(self, dim: int, *, key: jax.Array) -> Params:
        """The parameters before the first step, for embeddings of length `dim`."""
        raise NotImplementedError

    def rows(
        self, params: Params, embeddings: Float[Array, "responses dim"], input_scale: Scale
    ) -> Rows:
        """All that the network reads of each response."""
        raise NotImplementedError

    def objective(self, params: Params, rows: Rows, step: Step) -> Objective:
        """What training minimises, of the users drawn."""
        raise NotImplementedError

    def user_margins(
        self, params: Params, rows: Rows, shots: Pairs, targets: Pairs, hyper: Hyper
    ) -> UserMargins:
        """Mean and variance of one user's margins of the targets, whose weights are not read."""
        raise NotImplementedError
