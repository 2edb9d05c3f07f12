"""Settings chosen in few coordinates: the same losses, or nearly so where the table is cut."""

import dataclasses

import jax
import numpy as np
import pytest
from joint_fit import problem

from lore_jax.data.preferences import from_arrays
from lore_jax.fitting import reduced_table as module
from lore_jax.fitting.reduced_table import reduced_table
from lore_jax.fitting.validation import fold_roles, place_for_sweeps, sweep
from lore_jax.methods.base import Stage
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig

GIVEN = {
    "rank": 3,
    "ridge_population": 2.0,
    "ridge_deviation": 3.0,
    "item_effects": 0.5,
    "item_effects_deviation": 0.5,
}


def wide(responses=30, dim=200, spectrum=0.0):
    """Pairs over a table wider than it is long, its singular values falling as `k^-spectrum`."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(responses, dim)) * np.arange(1, dim + 1) ** -spectrum
    chosen = rng.integers(responses, size=400)
    rejected = (chosen + rng.integers(1, responses, size=400)) % responses
    flip = rng.random(400) < 1 / (1 + np.exp(table[chosen, :3] - table[rejected, :3]).prod(axis=1))
    sides = np.where(flip, rejected, chosen), np.where(flip, chosen, rejected)
    return from_arrays(table.astype(np.float32), *sides, np.arange(400) % 20)


def test_inner_products_stay_and_shapes_are_round():
    prefs = wide()
    small, outside, _ = reduced_table(prefs)
    assert small.embeddings.shape == (64, 64)
    assert not outside.any()
    table = prefs.take_responses().embeddings
    product = small.embeddings @ small.embeddings.T
    np.testing.assert_allclose(product[:30, :30], table @ table.T, rtol=1e-4, atol=1e-2)
    assert not product[30:].any()
    for name in ("user", "pair_weight", "row"):
        np.testing.assert_array_equal(getattr(small, name), getattr(prefs, name))


def test_only_responses_that_are_compared_are_kept():
    prefs = wide()
    extended = dataclasses.replace(prefs, embeddings=np.tile(prefs.embeddings, (20, 1)))
    np.testing.assert_array_equal(
        reduced_table(extended).prefs.embeddings, reduced_table(prefs).prefs.embeddings
    )


def test_a_table_of_many_rows_and_coordinates_is_cut(monkeypatch):
    monkeypatch.setattr(module, "MOST_COORDINATES", 20)
    monkeypatch.setattr(module, "_KEPT", 5)
    prefs = wide()
    small, outside, _ = reduced_table(prefs)
    assert not small.embeddings[:, 5:].any()
    squared = np.sum(prefs.take_responses().embeddings ** 2, axis=1)
    inside = np.sum(small.embeddings**2, axis=1)
    np.testing.assert_allclose((inside + outside)[:30], squared, rtol=1e-4)
    assert np.all(outside[:30] > 0)


def test_a_large_table_is_cut_sooner(monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 5)
    prefs = wide(responses=60, dim=80)
    assert not reduced_table(prefs).outside.any()  # 60 coordinates are few
    monkeypatch.setattr(module, "_MOST_NUMBERS", 60 * 60 - 1)
    small, outside, _ = reduced_table(prefs)
    assert not small.embeddings[:, 5:].any()
    assert np.all(outside[:60] > 0)


@pytest.mark.parametrize("responses", [30, 300])
def test_principal_axes_are_those_of_a_singular_value_decomposition(responses):
    small, _, principal = reduced_table(wide(responses=responses, dim=100, spectrum=0.5))
    table = small.embeddings[: small.embeddings.any(axis=1).sum()].astype(np.float64)
    values = np.linalg.svd(table, compute_uv=False) ** 2 / len(table)
    strongest = principal.squared[::-1][: len(values)]
    np.testing.assert_allclose(strongest, values, rtol=1e-3, atol=1e-5 * values[0])
    turned = table @ principal.axes
    np.testing.assert_allclose(np.mean(turned**2, axis=0), principal.squared, atol=1e-4)
    np.testing.assert_allclose(turned @ turned.T, table @ table.T, atol=1e-3 * values[0])


def losses(prefs, method, choices, holdout):
    roles = fold_roles(prefs, 3, holdout=holdout, group_by="response", seed=0)
    stage, placed = Stage("it", method, tuple(choices)), place_for_sweeps(prefs, method)
    return sweep(placed, stage, choices, roles, key=jax.random.key(0)).loss


CASES = {
    "Bradley-Terry": (BradleyTerryConfig(), [{"ridge": 10.0}, {"ridge": 1.0}]),
    "gaussian": (
        PopulationConfig(num_components=0, logit_scale=1.0, learning_rate=0.1, steps=60),
        [GIVEN],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("holdout", ["new items", "known items"])
def test_losses_are_those_of_the_table_as_it_is(name, holdout, monkeypatch):
    method, choices = CASES[name]
    prefs = problem(users=30) if holdout == "known items" else wide()
    small = losses(prefs, method, choices, holdout)
    monkeypatch.setattr(type(method), "by_inner_products", False)
    np.testing.assert_allclose(small, losses(prefs, method, choices, holdout), atol=2e-3)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("holdout", ["new items", "known items"])
def test_a_cut_table_costs_little(name, holdout, monkeypatch):
    method, choices = CASES[name]
    prefs = wide(responses=60, dim=80, spectrum=0.7)
    whole = losses(prefs, method, choices, holdout)
    monkeypatch.setattr(module, "MOST_COORDINATES", 20)
    monkeypatch.setattr(module, "_KEPT", 15)
    np.testing.assert_allclose(losses(prefs, method, choices, holdout), whole, atol=0.02)


@pytest.mark.parametrize("dim", [15, 80])
def test_of_a_table_on_disk_it_is_that_of_the_table_in_memory(dim, monkeypatch):
    monkeypatch.setattr(module, "MOST_COORDINATES", 20)
    monkeypatch.setattr(module, "_KEPT", 16)
    prefs = wide(responses=60, dim=dim, spectrum=0.7)
    rows = np.concatenate([prefs.embeddings, np.zeros((9, dim), np.float32)])

    class OnDisk:
        shape, dtype = rows.shape, rows.dtype

        def __getitem__(self, some):
            return rows[some]

    expected, outside, _ = reduced_table(dataclasses.replace(prefs, embeddings=rows))
    small, left_out, _ = reduced_table(dataclasses.replace(prefs, embeddings=OnDisk()))
    assert small.embeddings.shape == expected.embeddings.shape
    np.testing.assert_allclose(left_out, outside, rtol=0.2, atol=0.02)
    inside, wanted = (part.embeddings @ part.embeddings.T for part in (small, expected))
    np.testing.assert_allclose(inside, wanted, atol=0.05 * np.abs(wanted).max())
    np.testing.assert_array_equal(small.chosen, expected.chosen)
