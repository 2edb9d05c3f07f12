"""Axes of disagreement against the dense matrix; varimax against a grid of angles."""

import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_disagreement import disagreement, random_users

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.disagreement import (
    axes,
    describe_axes,
    prompts_of_responses,
    varimax,
    with_texts,
)
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import GaussianPrior


@pytest.mark.parametrize("prompts", [None, 7])
def test_the_spectrum_is_that_of_the_dense_matrix(prompts):
    model, weights, table = random_users()
    prompt = None if prompts is None else np.arange(50, dtype=np.int32) % prompts
    result = axes(model, weights, table, prompt=prompt)
    dense = disagreement(model, weights, table, prompt)
    left, sizes, right = np.linalg.svd(dense, full_matrices=False)
    np.testing.assert_allclose(result.spectrum, sizes[:4] ** 2 / dense.size, rtol=1e-4)
    # All four are kept here: scores times loadings are the matrix, and varimax turns the best
    # approximation of it.
    np.testing.assert_allclose(result.scores @ result.loadings.T, dense, atol=1e-4)
    np.testing.assert_allclose(result.share.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(result.scores.T @ result.scores / len(weights), np.eye(4), atol=1e-5)
    two = axes(model, weights, table, prompt=prompt, most=2)
    best = (left[:, :2] * sizes[:2]) @ right[:2]
    np.testing.assert_allclose(two.scores @ two.loadings.T, best, atol=1e-4)
    np.testing.assert_allclose(
        two.share.sum(), (sizes[:2] ** 2).sum() / (sizes**2).sum(), rtol=1e-4
    )
    assert (np.diff(two.share) <= 0).all()
    assert (np.abs(two.loadings).max(axis=0) == two.loadings.max(axis=0)).all()


def test_the_share_is_that_of_the_variance_of_reward_differences():
    model, weights, table = random_users()
    prompt = np.arange(50) % 5
    result = axes(model, weights, table, prompt=prompt.astype(np.int32), most=1)
    dense = disagreement(model, weights, table)
    same = prompt[:, None] == prompt
    margins = (dense[:, :, None] - dense[:, None, :])[:, same]
    fitted = result.scores @ result.loadings.T
    explained = (fitted[:, :, None] - fitted[:, None, :])[:, same]
    np.testing.assert_allclose(
        result.share[0], np.mean(explained**2) / np.mean(margins**2), rtol=1e-4
    )


def test_axes_do_not_depend_on_how_the_basis_is_written():
    model, weights, table = random_users()
    mix = np.random.default_rng(1).normal(size=(4, 4))
    mean = np.asarray(model.prior.mean) @ np.linalg.inv(mix).T
    other = model.replace(
        params={"V": jnp.asarray(np.asarray(model.params["V"]) @ mix, jnp.float32)},
        prior=GaussianPrior(jnp.asarray(mean, jnp.float32), jnp.eye(4)),
    )
    one, two = axes(model, weights, table), axes(other, weights @ np.linalg.inv(mix).T, table)
    np.testing.assert_allclose(one.loadings, two.loadings, atol=2e-3)
    np.testing.assert_allclose(one.scores, two.scores, atol=2e-3)
    np.testing.assert_allclose(one.shared, two.shared, rtol=1e-3)


def test_where_the_population_lies():
    model, weights, table = random_users()
    result = axes(model, weights, table)
    rewards = table.astype(np.float64) @ np.asarray(model.params["V"], np.float64)
    rewards -= rewards.mean(axis=0)
    average, mean = weights.mean(axis=0), np.asarray(model.prior.mean)
    # One more user who is the population lies where it does: the axes' loadings are what a score of
    # 1 adds.
    np.testing.assert_allclose(
        result.loadings @ result.population, rewards @ (mean - average), atol=1e-4
    )
    np.testing.assert_allclose(
        result.offset, np.sqrt(np.mean((rewards @ (mean - average)) ** 2)), rtol=1e-4
    )
    np.testing.assert_allclose(result.shared, np.sqrt(np.mean((rewards @ average) ** 2)), rtol=1e-4)


def criterion(loadings):
    return np.var(loadings**2, axis=0).sum()


def test_varimax_of_two_axes_is_the_best_angle_of_a_grid():
    for seed in range(5):
        loadings = np.random.default_rng(seed).standard_t(3, size=(20, 2))
        rotation = varimax(loadings)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-12)
        angles = np.linspace(0, np.pi, 20_000)
        turns = np.stack(
            [[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]
        ).transpose(2, 0, 1)
        best = np.var((loadings @ turns) ** 2, axis=1).sum(axis=1).max()
        assert criterion(loadings @ rotation) >= best - 1e-9


def test_varimax_recovers_simple_axes_and_no_rotation_near_it_is_better():
    rng = np.random.default_rng(0)
    simple = np.zeros((40, 4))
    simple[np.arange(40), np.arange(40) % 4] = rng.normal(size=40)
    mix, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    rotation = varimax(simple @ mix)
    np.testing.assert_allclose(np.abs(mix @ rotation).max(axis=0), 1.0, atol=1e-6)
    noisy = simple @ mix + 0.3 * rng.normal(size=(40, 4))
    best = criterion(noisy @ varimax(noisy))
    for _ in range(300):
        nearby, _ = np.linalg.qr(np.eye(4) + 0.1 * rng.normal(size=(4, 4)))
        assert criterion(noisy @ varimax(noisy) @ nearby) <= best + 1e-9


def test_users_who_do_not_differ_and_no_users():
    model, weights, table = random_users()
    for users in (np.tile(weights[:1], (5, 1)), weights[:0]):
        result = axes(model, users, table)
        assert result.loadings.shape == (50, 0)
        assert result.scores.shape == (len(users), 0)
        np.testing.assert_allclose(result.spectrum, 0.0, atol=1e-10)
        assert np.isfinite(result.shared)
    assert describe_axes(model, {"seen users": population_posterior(model, 5)}, table)["axes"] == []
    # One response a prompt: nothing is ever compared.
    alone = axes(model, weights, table, prompt=np.arange(50, dtype=np.int32))
    assert (alone.loadings.shape[1], alone.shared) == (0, 0.0)


def test_ends_carry_texts_and_responses_outside_every_pair_are_left_out():
    model, weights, table = random_users()
    prefs = from_arrays(
        table, chosen=[3, 4, 5], rejected=[7, 8, 9], user=[0, 0, 1], prompt=[0, 1, 1]
    )
    prompt = prompts_of_responses(prefs)
    assert (np.flatnonzero(prompt >= 0) == [3, 4, 5, 7, 8, 9]).all()
    assert prompt[[3, 7, 4, 8, 5, 9]].tolist() == [0, 0, 1, 1, 1, 1]
    users = population_posterior(model, 30).replace(weights=weights)
    groups = {
        "seen users": users.take(np.arange(20)),
        "unseen users": users.take(np.arange(20, 30)),
    }
    described = describe_axes(model, groups, table, prompt=prompt)
    described = with_texts(
        described, [(f"prompt {row % 2}", f"response {row}") for row in range(50)]
    )
    result = axes(model, weights, table, prompt=prompt)
    assert np.isnan(result.loadings[[0, 1, 2, 6]]).all()
    assert {name: len(scores) for name, scores in described["groups"].items()} == {
        "seen users": 20,
        "unseen users": 10,
    }
    np.testing.assert_allclose(described["groups"]["unseen users"], result.scores[20:])
    for k, axis in enumerate(described["axes"]):
        loading = result.loadings[:, k]
        for end, row in (("high", np.nanargmax(loading)), ("low", np.nanargmin(loading))):
            assert axis[end][0] == {
                "response": row,
                "prompt": f"prompt {row % 2}",
                "text": f"response {row}",
                "loading": loading[row],
            }
    np.testing.assert_allclose(described["disagreement"] ** 2, result.spectrum.sum())
