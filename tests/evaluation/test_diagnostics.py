"""Collapse that was planted is found, and a healthy fit is left in peace."""

import dataclasses

import numpy as np
import pytest
from synthetic_disagreement import disagreement, planted

from lore_jax.evaluation.diagnostics import collapse, collapse_lines
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import Population


def posterior(model, weights):
    return population_posterior(model, len(weights)).replace(weights=weights)


def test_a_healthy_fit():
    model, weights, table = planted(users=400)
    found = collapse(model, posterior(model, weights), table)
    assert found.warnings == []
    assert found.dead_columns == []
    assert found.directions == 4
    dense = disagreement(model, weights, table)
    np.testing.assert_allclose(found.disagreement, np.sqrt(np.mean(dense**2)), rtol=1e-4)
    share = np.linalg.eigvalsh(dense.T @ dense)
    np.testing.assert_allclose(found.effective_rank, share.sum() ** 2 / (share**2).sum(), rtol=1e-4)
    # Drawn from the prior: all of its variance lies between users, and population_posterior knows
    # nothing of anybody.
    np.testing.assert_allclose(found.between, 1.0, atol=0.1)
    np.testing.assert_allclose(found.within, 1.0, atol=1e-6)
    assert len(collapse_lines(found._asdict())) == 4


def one_column(weights):
    return np.eye(4)[[2]] * weights


def everybody_the_same(weights):
    return np.tile(weights[:1], (len(weights), 1))


def one_direction(weights):
    return weights[:1] + np.outer(np.arange(len(weights)), weights[1])


@pytest.mark.parametrize(
    ("spoil", "origin", "warning", "effective"),
    [
        (one_column, np.zeros(4), "columns 0, 1, 3 of 4 add nothing to rewards", 1.0),
        (everybody_the_same, None, "all users are the same", 0.0),
        (one_direction, None, "all disagreement lies in one direction, of 4", 1.0),
        (np.zeros_like, np.zeros(4), "no column adds anything", 0.0),
    ],
)
def test_planted_collapse(spoil, origin, warning, effective):
    model, weights, table = planted()
    weights = spoil(weights).astype(np.float32)
    mean = weights[0] if origin is None else origin.astype(np.float32)
    model = dataclasses.replace(model, population=Population(mean, model.population.factor))
    found = collapse(model, posterior(model, weights), table)
    assert any(line.startswith(warning) for line in found.warnings), found.warnings
    np.testing.assert_allclose(found.effective_rank, effective, atol=1e-3)
    assert any(warning in line for line in collapse_lines(found._asdict()))


def test_what_all_share_belongs_into_the_population():
    model, weights, table = planted(users=400)
    apart = weights + np.float32([1.0, 0.0, 0.0, 0.0])
    (warning,) = collapse(model, posterior(model, apart), table).warnings
    assert warning.startswith("the average user adds ")
    # A handful of users may lie anywhere.
    assert collapse(model, posterior(model, apart[:5]), table).warnings == []


def test_a_dead_column_of_rewards():
    model, weights, table = planted()
    model = dataclasses.replace(model, params={"V": model.params["V"].at[:, 1].set(0.0)})
    found = collapse(model, posterior(model, weights), table)
    assert found.dead_columns == [1]
    assert found.warnings == ["column 1 of 4 adds nothing to rewards"]


def test_bradley_terry_has_nothing_to_collapse():
    model, _, table = planted(rank=1)
    model = dataclasses.replace(
        model, population=Population(np.ones(1, np.float32), np.zeros((1, 0), np.float32))
    )
    found = collapse(model, population_posterior(model, 5), table)
    assert (found.warnings, found.directions, found.effective_rank, found.between) == (
        [],
        0,
        0.0,
        None,
    )
    assert (found.same_users, found.offset) == (1.0, 0.0)
    assert found.shared > 0
