"""Fitted models as methods to evaluate: the basis applied once, or weights as published."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from lore_jax.data.preferences import Preferences, group_by_user
from lore_jax.methods.base import BasisPredictor
from lore_jax.methods.simplex.softmax import adam_logits
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior, population_posterior
from lore_jax.users.predict import Margins, margins

Table = Shaped[np.ndarray, "responses dim"] | Shaped[jax.Array, "responses dim"]


def projected(model: Model, users: Posterior, embeddings: Table) -> BasisPredictor:
    """A fitted model whose basis is applied to the table once, for all conditions.

    The rewards become the table of the same model with the identity for a basis. A model with item
    effects, or with an uncertain basis, is left as it is: what is not known of a response is no
    part of its rewards.
    """
    if model.item_effects is not None or model.basis_posterior is not None:
        return BasisPredictor(model, users)
    return Projected(_on_rewards(model), users, table=rewards(model, embeddings).table)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Projected(BasisPredictor):
    """A model on rewards; the pairs it is given are over embeddings, row by row the same.

    Attributes:
        table: the rewards.
    """

    table: jax.Array

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins under the posterior after the shots."""
        return super().adapted(self.over_rewards(shots), self.over_rewards(test))

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins under the posterior of the fit."""
        return super().fitted(self.over_rewards(shots), self.over_rewards(test))

    def over_rewards(self, prefs: Preferences) -> Preferences:
        """The same pairs over the rewards."""
        return dataclasses.replace(prefs, embeddings=self.table)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AsPublished(Projected):
    """The same with new users' weights as published: 500 Adam steps from N(0, 1) logits.

    Without shots, a random person.

    Attributes:
        seed: seed of the logits.
    """

    seed: int

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins at the weights where Adam stops."""
        logits = jax.random.normal(jax.random.key(self.seed), (self.model.rank, shots.num_users))
        weights = np.array(jax.nn.softmax(logits, axis=0).T)
        for bucket in group_by_user(shots):
            ahead = np.arange(bucket.shots)[:, None]
            pairs = bucket.first + np.minimum(ahead, bucket.count - 1)
            given = np.where(ahead < bucket.count, shots.pair_weight[pairs], 0.0).astype(np.float32)
            rows = self.table[shots.chosen[pairs]] - self.table[shots.rejected[pairs]]
            features = jnp.moveaxis(rows, -1, 0)
            weights[bucket.users] = _adam(features, given, logits[:, bucket.users]).T
        users = population_posterior(self.model, shots.num_users)
        known = dataclasses.replace(users, weights=weights)
        return margins(self.model, known, self.over_rewards(test))


def as_published(model: Model, users: Posterior, embeddings: Table, seed: int) -> AsPublished:
    """The paper's way with new users, for a model without item effects."""
    table = rewards(model, embeddings).table
    return AsPublished(_on_rewards(model), users, table=table, seed=seed)


_adam = jax.jit(adam_logits)


def _on_rewards(model: Model) -> Model:
    """The same model for a table that holds its rewards instead of embeddings."""
    basis, identity = LinearBasis(model.rank), {"V": jnp.eye(model.rank)}
    return dataclasses.replace(
        model, basis=basis, params=identity, input_scale=jnp.ones(()), temperature=1.0
    )
