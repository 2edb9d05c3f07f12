"""Warnings where the ground truth is out of use, none for a healthy fit."""

import dataclasses

import numpy as np
import pytest
from synthetic_disagreement import disagreement, random_users

from lore_jax.evaluation.diagnostics import diagnose, diagnostic_lines
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import GaussianPrior


def posterior(model, weights):
    return population_posterior(model, len(weights)).replace(weights=weights)


def test_a_healthy_fit():
    model, weights, table = random_users(users=400)
    result = diagnose(model, posterior(model, weights), table)
    assert result["warnings"] == []
    assert result["dead_columns"] == []
    assert result["directions"] == 4
    dense = disagreement(model, weights, table)
    np.testing.assert_allclose(result["disagreement"], np.sqrt(np.mean(dense**2)), rtol=1e-4)
    share = np.linalg.eigvalsh(dense.T @ dense)
    np.testing.assert_allclose(
        result["effective_rank"], share.sum() ** 2 / (share**2).sum(), rtol=1e-4
    )
    # Drawn from the prior: all of its variance lies between users, and population_posterior knows
    # nothing of anybody.
    np.testing.assert_allclose(result["between"], 1.0, atol=0.1)
    np.testing.assert_allclose(result["within"], 1.0, atol=1e-6)
    assert len(diagnostic_lines(result)) == 4


def one_column(weights):
    return np.eye(4)[[2]] * weights


def all_users_the_same(weights):
    return np.tile(weights[:1], (len(weights), 1))


def one_direction(weights):
    return weights[:1] + np.outer(np.arange(len(weights)), weights[1])


@pytest.mark.parametrize(
    ("spoil", "origin", "warning", "effective"),
    [
        (one_column, np.zeros(4), "columns 0, 1, 3 of 4 add nothing to rewards", 1.0),
        (all_users_the_same, None, "all users are the same", 0.0),
        (one_direction, None, "all disagreement lies in one direction, of 4", 1.0),
        (np.zeros_like, np.zeros(4), "no column adds anything", 0.0),
    ],
)
def test_what_is_out_of_use_is_warned_of(spoil, origin, warning, effective):
    model, weights, table = random_users()
    weights = spoil(weights).astype(np.float32)
    mean = weights[0] if origin is None else origin.astype(np.float32)
    model = dataclasses.replace(model, prior=GaussianPrior(mean, model.prior.factor))
    result = diagnose(model, posterior(model, weights), table)
    assert any(line.startswith(warning) for line in result["warnings"]), result["warnings"]
    np.testing.assert_allclose(result["effective_rank"], effective, atol=1e-3)
    assert any(warning in line for line in diagnostic_lines(result))


def test_what_all_share_belongs_into_the_population():
    model, weights, table = random_users(users=400)
    apart = weights + np.float32([1.0, 0.0, 0.0, 0.0])
    (warning,) = diagnose(model, posterior(model, apart), table)["warnings"]
    assert warning.startswith("the average user adds ")
    # A handful of users may lie anywhere.
    assert diagnose(model, posterior(model, apart[:5]), table)["warnings"] == []


def test_a_dead_column_of_rewards():
    model, weights, table = random_users()
    model = dataclasses.replace(model, params={"V": model.params["V"].at[:, 1].set(0.0)})
    result = diagnose(model, posterior(model, weights), table)
    assert result["dead_columns"] == [1]
    assert result["warnings"] == ["column 1 of 4 adds nothing to rewards"]


def test_bradley_terry_has_no_directions():
    model, _, table = random_users(rank=1)
    model = dataclasses.replace(
        model, prior=GaussianPrior(np.ones(1, np.float32), np.zeros((1, 0), np.float32))
    )
    result = diagnose(model, population_posterior(model, 5), table)
    assert (result["warnings"], result["directions"]) == ([], 0)
    assert (result["effective_rank"], result["between"]) == (0.0, None)
    assert (result["same_users"], result["offset"]) == (1.0, 0.0)
    assert result["shared"] > 0
