"""Fitted models as methods to evaluate: the basis applied once, or weights as published."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

import lore_jax as lore
from lore_jax.data.preferences import Preferences, group_by_user
from lore_jax.evaluation.evaluate import Method, method
from lore_jax.methods.simplex.joint_fit import adam_logits
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior, population_posterior
from lore_jax.users.predict import Margins, margins

Table = Shaped[np.ndarray, "responses dim"] | Shaped[jax.Array, "responses dim"]


def projected(model: Model, users: Posterior, embeddings: Table) -> Method:
    """A fitted model as a method whose basis is applied to the table once, for all conditions.

    The rewards become the table of the same model with the identity for a basis. A model with item
    effects is left as it is: what is not known of a response is no part of its rewards.
    """
    if model.item_effects is not None:
        return method(model, users)
    applied, small = rewards(model, embeddings).table, _on_rewards(model)

    def over(prefs: Preferences) -> Preferences:
        return dataclasses.replace(prefs, embeddings=applied)

    return Method(
        lambda shots, test: margins(small, lore.adapt(small, over(shots)), over(test)),
        lambda _, test: margins(small, users, over(test)),
    )


def as_published(model: Model, users: Posterior, embeddings: Table, seed: int) -> Method:
    """The same with new users' weights as published: 500 Adam steps from N(0, 1) logits.

    Without shots the weights stay those of a random person.
    """
    applied, small = rewards(model, embeddings).table, _on_rewards(model)

    def adapted(shots: Preferences, test: Preferences) -> Margins:
        logits = jax.random.normal(jax.random.key(seed), (model.rank, shots.num_users))
        weights = np.array(jax.nn.softmax(logits, axis=0).T)
        for bucket in group_by_user(shots):
            slot = np.arange(bucket.shots)[:, None]
            pairs = bucket.first + np.minimum(slot, bucket.count - 1)
            is_pair = slot < bucket.count
            pair_weight = np.where(is_pair, shots.pair_weight[pairs], 0.0).astype(np.float32)
            features = jnp.moveaxis(
                applied[shots.chosen[pairs]] - applied[shots.rejected[pairs]], -1, 0
            )
            weights[bucket.users] = _adam(features, pair_weight, logits[:, bucket.users]).T
        prior = population_posterior(small, shots.num_users)
        posterior = dataclasses.replace(prior, weights=weights)
        return margins(small, posterior, dataclasses.replace(test, embeddings=applied))

    return Method(adapted, projected(model, users, embeddings).fitted)


_adam = jax.jit(adam_logits)


def _on_rewards(model: Model) -> Model:
    """The same model for a table that holds its rewards instead of embeddings."""
    basis, identity = LinearBasis(model.rank), {"V": jnp.eye(model.rank)}
    return dataclasses.replace(
        model, basis=basis, params=identity, input_scale=jnp.ones(()), temperature=1.0
    )
