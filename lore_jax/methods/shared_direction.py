"""What methods have in common whose one direction serves everybody: Bradley-Terry, a given head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import BasisPredictor, FoldWeights, Prediction, predicted
from lore_jax.methods.defaults import WithoutSteps
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import bradley_terry_model
from lore_jax.parallel.buckets import FitData, Layout, features
from lore_jax.parallel.devices import first_shard
from lore_jax.parallel.table_rows import map_rows
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood
from lore_jax.users.adapt import adapt


class Direction(NamedTuple):
    """Everybody's rewards.

    Attributes:
        along: the direction, `[dim]`.
        own: what each response has beside it, or of all; not 0 only where settings are chosen over
            a table in few coordinates.
    """

    along: Float[Array, "*shards dim"]
    own: Float[Array, "*shards #responses"]


class SharedDirection(WithoutSteps):
    """The half of the contract that methods share whose one direction serves everybody.

    The state is the direction, which `init` finds.
    """

    likelihood: Likelihood = LOGISTIC

    def finish(self, state: Direction, data: FitData, hyper: Float[Array, "..."]) -> Direction:
        """The direction for embeddings as they are."""
        return state._replace(along=state.along / data.input_scale)

    def predict(
        self,
        fitted: Direction,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: Float[Array, "..."],
    ) -> list[Prediction]:
        """By everybody's margins."""
        table = map_rows(product, fitted.along, data.embeddings)
        table = (table + fitted.own)[:, None]
        return [predicted(self.likelihood, features(table, bucket)) for bucket in data.buckets]

    def export(self, fitted: Direction, layout: Layout, prefs: Preferences) -> BasisPredictor:
        """A model of one direction; every user is the population."""
        params = {"V": jnp.asarray(first_shard(fitted.along))[:, None]}
        model = bradley_terry_model(LinearBasis(1), params, 1.0, self.likelihood)
        return BasisPredictor(model, adapt(model, prefs))


def product(direction: Array, rows: Array) -> Float[Array, " rows"]:
    """Rewards of rows along a direction, in float32."""
    return jnp.matmul(rows, direction, preferred_element_type=jnp.float32)
