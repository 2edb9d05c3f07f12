"""Users as they may come: every fit and every solve ends, says how, and nothing becomes NaN.

All but one of the cases are eight users with 1, 4 or 8 pairs over the same table, so that they
share compiled programs.
"""

import dataclasses

import jax
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.diagnostics import diagnose
from lore_jax.evaluation.disagreement import axes, prompts_of_responses
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.users.adapt import adapt
from lore_jax.users.predict import margins

USER = np.repeat(np.arange(8), [1, 4, 4, 4, 8, 8, 8, 8])
RESPONSES, DIM = 30, 5

METHODS = {
    "gaussian": PopulationConfig(
        steps=30,
        rank=3,
        ridge_population=2.0,
        ridge_deviation=2.0,
        item_effects=0.0,
        item_effects_deviation=0.0,
        num_components=0,
        logit_scale=1.0,
    ),
    "simplex": SimplexConfig(rank=2, steps=60, learning_rate=0.3, temperature=1.0),
}


def table(seed=0):
    return np.random.default_rng(seed).normal(size=(RESPONSES, DIM)).astype(np.float32)


def random_pairs(seed=0, users=USER):
    """Different pairs of responses, in no order of merit."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(RESPONSES, size=len(users))
    return chosen, (chosen + rng.integers(1, RESPONSES, size=len(users))) % RESPONSES


def better_first(embeddings, chosen, rejected, direction):
    """The pairs in the order in which `direction` ranks them."""
    turned = embeddings[chosen] @ direction < embeddings[rejected] @ direction
    return np.where(turned, rejected, chosen), np.where(turned, chosen, rejected)


def labels_at_random():
    return from_arrays(table(), *random_pairs(), USER)


def everybody_agrees_and_is_separable():
    embeddings = table()
    return from_arrays(
        embeddings, *better_first(embeddings, *random_pairs(), np.arange(1.0, DIM + 1)), USER
    )


def one_pair_again_and_again():
    chosen, rejected = random_pairs()
    first = np.searchsorted(USER, USER)
    return from_arrays(table(), chosen[first], rejected[first], USER)


def contradictions():
    """Every pair both ways round; the user with one pair compares two equal embeddings."""
    embeddings = table()
    embeddings[1] = embeddings[0]
    chosen, rejected = random_pairs()
    index = np.arange(len(USER)) - np.searchsorted(USER, USER)
    before = np.maximum(np.arange(len(USER)) - 1, 0)
    odd = index % 2 == 1
    chosen, rejected = (
        np.where(odd, rejected[before], chosen),
        np.where(odd, chosen[before], rejected),
    )
    chosen[0], rejected[0] = 0, 1
    return from_arrays(embeddings, chosen, rejected, USER)


def constant_columns():
    embeddings = table()
    embeddings[:, 0], embeddings[:, 1] = 1.0, 0.0
    return from_arrays(embeddings, *random_pairs(), USER)


def all_responses_alike():
    return from_arrays(np.ones((RESPONSES, DIM), np.float32), *random_pairs(), USER)


def a_table_of_zeros():
    return from_arrays(np.zeros((RESPONSES, DIM), np.float32), *random_pairs(), USER)


def huge_embeddings():
    return from_arrays(1e15 * table(), *random_pairs(), USER)


def long_embeddings():
    return from_arrays(100.0 * table(), *random_pairs(), USER)


def tiny_embeddings():
    return from_arrays(1e-15 * table(), *random_pairs(), USER)


def users_do_not_differ():
    """Noisy, but by one direction and the same for everybody: what eight users say, four say the
    half of.
    """
    embeddings, (chosen, rejected) = table(), random_pairs()
    index = np.arange(len(USER)) - np.searchsorted(USER, USER)
    chosen, rejected = better_first(
        embeddings, chosen[-8:][index], rejected[-8:][index], np.arange(1.0, DIM + 1)
    )
    flipped = index % 4 == 3
    return from_arrays(
        embeddings, np.where(flipped, rejected, chosen), np.where(flipped, chosen, rejected), USER
    )


def weights_of_zero():
    """All pairs of half of the users count nothing."""
    return from_arrays(table(), *random_pairs(), USER, pair_weight=(USER % 2).astype(float))


def one_user():
    user = np.zeros(8, int)
    return from_arrays(table(), *random_pairs(users=user), user)


def groups_that_want_the_opposite():
    embeddings, (chosen, rejected) = table(), random_pairs()
    chosen, rejected = better_first(embeddings, chosen, rejected, np.ones(DIM))
    return from_arrays(
        embeddings, *np.where(USER % 2, (chosen, rejected), (rejected, chosen)), USER
    )


CASES = [
    labels_at_random,
    everybody_agrees_and_is_separable,
    one_pair_again_and_again,
    contradictions,
    constant_columns,
    all_responses_alike,
    a_table_of_zeros,
    huge_embeddings,
    long_embeddings,
    tiny_embeddings,
    users_do_not_differ,
    weights_of_zero,
    groups_that_want_the_opposite,
    one_user,
]


def fitted(case, method):
    prefs = case()
    return prefs, *fit(prefs, FitConfig(METHODS[method]), key=jax.random.key(0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_ends_and_nothing_is_nan(case, method):
    prefs, model, users, history = fitted(case, method)
    again = adapt(model, prefs)
    for name, leaf in (
        *(
            (jax.tree_util.keystr(path), leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path((model, users, again))
        ),
        ("loss", history.loss),
        ("gradient", history.grad_norm),
        *zip(("mean", "variance"), margins(model, again, prefs)[:2], strict=True),
        ("log loss", margins(model, again, prefs).log_probability),
    ):
        assert np.isfinite(np.asarray(leaf, np.float64)).all(), name
    probability = margins(model, again, prefs).probability
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (margins(model, again, prefs).variance >= 0).all()
    # Each user's solve has ended at its optimum, whatever the data; or says that it has not, where
    # margins of 1e14 logits (the paper's objective takes embeddings as they are) leave no digit of
    # the weights in a float32.
    assert again.converged.all() or (case, method) == (huge_embeddings, "simplex"), again.grad_norm
    np.testing.assert_array_equal(
        again.shots, np.bincount(prefs.user[prefs.pair_weight > 0], minlength=prefs.num_users)
    )
    if method == "simplex":
        np.testing.assert_allclose(again.weights.sum(axis=1), 1.0, atol=1e-5)
        assert (again.weights >= -1e-6).all()
    # What the diagnostics report of the fit is no NaN either.
    prompt = prompts_of_responses(prefs)
    diagnostics = diagnose(model, users, prefs.embeddings, prompt=prompt)
    numbers = ("shared", "disagreement", "effective_rank", "same_users")
    assert np.isfinite([diagnostics[name] for name in numbers]).all()
    assert np.isfinite(diagnostics["columns"]).all()
    found = axes(model, users.weights, prefs.embeddings, prompt=prompt)
    assert np.isfinite(found.loadings[prompt >= 0]).all()
    assert np.isfinite(found.scores).all()


def test_contradictions_leave_everybody_where_the_population_is():
    # The fit begins at the optimum, where Adam takes what rounding leaves of the gradient for a
    # direction: how far it is off after few steps depends on the processor.
    method = dataclasses.replace(METHODS["gaussian"], steps=100)
    prefs = contradictions()
    model, users, _ = fit(prefs, FitConfig(method), key=jax.random.key(0))
    np.testing.assert_allclose(users.weights[:, 1:], 0.0, atol=1e-3)
    np.testing.assert_allclose(margins(model, users, prefs).probability, 0.5, atol=1e-3)


def test_everybody_agrees_is_learned_and_stays_finite():
    prefs, model, users, _ = fitted(everybody_agrees_and_is_separable, "gaussian")
    sure = margins(model, users, prefs)
    assert np.mean(sure.mean > 0) > 0.9
    assert np.abs(sure.mean).max() < 20
    # A user who agrees with everybody is the population: what is shared explains the pairs.
    diagnostics = diagnose(model, users, prefs.embeddings)
    assert diagnostics["disagreement"] < diagnostics["shared"]


def test_a_pair_given_twice_counts_twice():
    prefs, model, users, _ = fitted(one_pair_again_and_again, "gaussian")
    first = np.unique(prefs.user, return_index=True)[1]
    once = prefs.take_pairs(first)
    weighted = from_arrays(
        prefs.embeddings,
        once.chosen,
        once.rejected,
        once.user,
        pair_weight=prefs.pairs_per_user(),
        num_users=8,
    )
    np.testing.assert_allclose(adapt(model, weighted).weights, users.weights, atol=1e-4)
    np.testing.assert_allclose(adapt(model, weighted).covariance, users.covariance, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_direction_that_does_not_vary_changes_nothing(method):
    prefs, model, users, _ = fitted(constant_columns, method)
    shifted = np.asarray(prefs.embeddings) + np.array([3.0, 0, 0, 0, 0], np.float32)
    other = from_arrays(shifted, prefs.chosen, prefs.rejected, prefs.user)
    np.testing.assert_allclose(
        margins(model, users, other).mean, margins(model, users, prefs).mean, atol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_pairs_that_count_nothing_are_no_shots(method):
    prefs, model, _, _ = fitted(weights_of_zero, method)
    again = adapt(model, prefs)
    silent = np.arange(8) % 2 == 0
    np.testing.assert_array_equal(again.shots[silent], 0)
    mean = np.asarray(model.prior.mean)
    np.testing.assert_allclose(again.weights[silent], np.tile(mean, (4, 1)), atol=1e-6)


def test_the_fewer_pairs_the_nearer_to_the_population():
    _, model, users, _ = fitted(groups_that_want_the_opposite, "gaussian")
    prior = np.asarray(model.prior.covariance)
    for covariance, shots in zip(users.covariance, users.shots, strict=True):
        assert np.linalg.eigvalsh(prior - covariance).min() > -1e-4
        assert shots >= 1
    unknown = np.trace(users.covariance, axis1=1, axis2=2)
    assert unknown[0] > unknown[1:4].mean() > unknown[4:].mean()


@pytest.mark.parametrize("method", METHODS)
def test_one_bad_row_changes_nothing_for_the_others(method):
    """As if its pairs had not been given; to the bit, where their rows are the same."""
    prefs = labels_at_random()
    bad = int(prefs.chosen[0])
    table_with, weight = np.array(prefs.embeddings), np.ones(prefs.num_pairs)
    weight[(prefs.chosen == bad) | (prefs.rejected == bad)] = 0
    table_with[bad] = 0
    pairs = prefs.chosen, prefs.rejected, prefs.user
    without = from_arrays(table_with, *pairs, pair_weight=weight)
    table_with = table()
    table_with[bad] *= 1e6
    config, key = FitConfig(METHODS[method]), jax.random.key(0)
    with pytest.warns(RuntimeWarning, match=f"embeddings row {bad} has norm"):
        _, users, _ = fit(from_arrays(table_with, *pairs), config, key=key)
    _, expected, _ = fit(without, config, key=key)
    np.testing.assert_array_equal(users.weights, expected.weights)
