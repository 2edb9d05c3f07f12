"""Fitted models as methods to evaluate: the basis applied to the table once, and new users' weights
as published.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from lore_jax.data.preferences import Preferences, group_by_user
from lore_jax.evaluation.evaluate import Method, method
from lore_jax.methods.simplex.joint_fit import adam_logits
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior, population_posterior
from lore_jax.users.predict import Margins, margins


def projected(model: Model, users: Posterior, embeddings: Any) -> Method:
    """A fitted model as a method whose basis is applied to the table once, and not again in every
    condition.

    The rewards become the table of the same model with the identity for a basis. A model with terms
    of the responses' own is left as it is: what is not known of a response is no part of its
    rewards.
    """
    if model.terms is not None:
        return method(model, users)
    applied, small = rewards(model, embeddings).table, _on_rewards(model)

    def over(prefs: Preferences) -> Preferences:
        return dataclasses.replace(prefs, embeddings=applied)

    return Method(
        lambda shots, test: margins(small, lore.adapt(small, over(shots)), over(test)),
        lambda _, test: margins(small, users, over(test)),
    )


def as_published(model: Model, users: Posterior, embeddings: Any, seed: int) -> Method:
    """The same with new users' weights as published: 500 Adam steps from N(0, 1) logits; without
    shots, a random person.
    """
    applied, small = rewards(model, embeddings).table, _on_rewards(model)

    def adapted(shots: Preferences, test: Preferences) -> Margins:
        logits = jax.random.normal(jax.random.key(seed), (model.rank, shots.num_users))
        weights = np.array(jax.nn.softmax(logits, axis=0).T)
        for bucket in group_by_user(shots):
            ahead = np.arange(bucket.shots)[:, None]
            pairs = bucket.first + np.minimum(ahead, bucket.count - 1)
            given = np.where(ahead < bucket.count, shots.pair_weight[pairs], 0.0).astype(np.float32)
            of_pairs = jnp.moveaxis(
                applied[shots.chosen[pairs]] - applied[shots.rejected[pairs]], -1, 0
            )
            weights[bucket.users] = _adam(of_pairs, given, logits[:, bucket.users]).T
        known = dataclasses.replace(population_posterior(small, shots.num_users), weights=weights)
        return margins(small, known, dataclasses.replace(test, embeddings=applied))

    return Method(adapted, projected(model, users, embeddings).fitted)


_adam = jax.jit(adam_logits)


def _on_rewards(model: Model) -> Model:
    """The same model for a table that holds its rewards instead of embeddings."""
    basis, identity = LinearBasis(model.rank), {"V": jnp.eye(model.rank)}
    return dataclasses.replace(
        model, basis=basis, params=identity, input_scale=jnp.ones(()), temperature=1.0
    )
