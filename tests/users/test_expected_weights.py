import dataclasses

import jax.numpy as jnp
import numpy as np
from small_objects import small_objects

import lore_jax as lore
from lore_jax.model.prior import SimplexPrior
from lore_jax.users.expected_weights import expected_weights

SMALL = small_objects()
MODEL, SHOTS = SMALL["model"], lore.draw_shots(SMALL["shots"], 4, seed=0)


def exact_mean(user, rng):
    """Of a user's weights, by draws from the prior, weighed by what they make of the answers."""
    table = np.asarray(lore.rewards(MODEL, SHOTS.embeddings).table, np.float64)
    own = SHOTS.user == user
    features = (table[SHOTS.chosen] - table[SHOTS.rejected])[own]
    prior = MODEL.prior
    noise = rng.standard_normal((400_000, prior.factor.shape[1]))
    drawn = np.asarray(prior.mean) + noise @ np.asarray(prior.factor).T
    likelihood = np.exp(-np.logaddexp(0.0, -drawn @ features.T).sum(axis=1))
    return likelihood @ drawn / likelihood.sum()


def test_it_is_nearer_to_the_posteriors_mean_than_the_mode():
    mean, mode = expected_weights(MODEL, SHOTS), lore.adapt(MODEL, SHOTS)
    assert mean.converged.all()
    rng, errors = np.random.default_rng(0), []
    for user in range(3):
        exact = exact_mean(user, rng)
        errors.append([np.linalg.norm(x.weights[user] - exact) for x in (mean, mode)])
    of_mean, of_mode = np.mean(errors, axis=0)
    assert of_mean < 0.3 * of_mode
    np.testing.assert_array_equal(mean.shots, mode.shots)


def test_a_start_changes_nothing_and_silence_is_the_population():
    first = expected_weights(MODEL, SHOTS)
    again = expected_weights(MODEL, SHOTS, start=first)
    np.testing.assert_allclose(again.weights, first.weights, atol=2e-3)
    nobody = dataclasses.replace(SHOTS, num_users=SHOTS.num_users + 1)
    last = expected_weights(MODEL, nobody).weights[-1]
    np.testing.assert_array_equal(last, MODEL.prior.mean)


def test_a_simplex_prior_is_no_distribution():
    model = dataclasses.replace(MODEL, prior=SimplexPrior(jnp.full(3, 1 / 3)))
    mode = lore.adapt(model, SHOTS).weights
    np.testing.assert_array_equal(expected_weights(model, SHOTS).weights, mode)
