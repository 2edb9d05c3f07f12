"""A fit: chunks of any sizes, one program for all choices, what is refused, what is handed back."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from joint_fit import problem

import lore_jax as lore
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit, fit_predictor, start
from lore_jax.fitting.programs import first_state, learned, many_steps
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.methods.rivals.variational import VariationalConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.parallel import buckets, table_rows
from lore_jax.users.predict import Margins

KEY = jax.random.key(0)
POPULATION = PopulationConfig(
    rank=2,
    ridge_population=1.0,
    ridge_deviation=1.0,
    item_effects=0.5,
    item_effects_deviation=0.5,
    num_components=0,
    logit_scale=1.0,
    steps=6,
)
SIMPLEX = SimplexConfig(rank=2, steps=6, temperature=2.0)


@pytest.mark.parametrize("method", [POPULATION, SIMPLEX], ids=["population", "simplex"])
def test_chunks_are_the_whole_and_the_history_is_of_every_step(method):
    prefs = problem()
    model, users, history = fit(prefs, FitConfig(method), key=KEY)
    assert history.loss.shape == history.grad_norm.shape == (6,)
    assert history.loss[-1] < history.loss[0]
    assert history.choice == {name: getattr(method, name) for name in history.choice}
    assert (history.sweeps, history.loss_unit) == ((), method.loss_unit)
    running, state = start(prefs, FitConfig(method), key=KEY)
    assert running.steps == 6
    assert running.method == method
    losses, taken = [], 0
    for count in (1, 3, 2):
        state, info = running.advance(state, taken, count)
        taken += count
        losses.append(info.loss)
    predictor = running.finish(state)
    np.testing.assert_allclose(np.concatenate(losses), history.loss, rtol=1e-5)
    chex.assert_trees_all_close(predictor.model, model, atol=1e-5)
    # Newton's method ends within 1e-4 of a standard deviation (below 1) of each user's mode.
    chex.assert_trees_all_close(predictor.users.weights, users.weights, atol=2e-4)


def test_what_is_chosen_reaches_one_program_as_numbers():
    prefs = problem()
    many_steps.cache_clear()
    for ridge in (0.5, 1.0, 30.0):
        method = dataclasses.replace(POPULATION, ridge_deviation=ridge, logit_scale=1.0 + ridge)
        running, state = start(prefs, FitConfig(method), key=KEY)
        running.advance(state, 0, 2)
    assert many_steps.cache_info().currsize == 1
    unchosen = dataclasses.replace(POPULATION, **dict.fromkeys(running.choice))
    assert many_steps(unchosen, 2, "jit", tuple(jax.devices()[:1]))._cache_size() == 1
    assert many_steps.cache_info().currsize == 1


def test_the_key_is_the_one_source_of_randomness():
    prefs = problem()
    first, again, other = (
        np.asarray(fit(prefs, FitConfig(SIMPLEX), key=jax.random.key(seed))[0].params["V"])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_seed_is_a_key():
    prefs, config = problem(), FitConfig(SIMPLEX)
    (_, by_seed, _), (_, by_key, _) = fit(prefs, config, key=0), fit(prefs, config, key=KEY)
    np.testing.assert_array_equal(by_seed.weights, by_key.weights)


def test_a_fit_without_steps_is_its_first_state():
    prefs = problem()
    running, state = start(prefs, FitConfig(BradleyTerryConfig(3.0)), key=KEY)
    assert running.steps == 0
    predictor = running.finish(state)
    model, users, history = fit(prefs, FitConfig(BradleyTerryConfig(3.0)), key=KEY)
    chex.assert_trees_all_equal(predictor.model, model)
    chex.assert_trees_all_equal(predictor.users.weights, users.weights)
    assert history.loss.shape == (0,)


def test_other_things_than_preferences_and_a_configuration_are_refused():
    with pytest.raises(ValueError, match="config is a dict: FitConfig is expected"):
        fit(problem(), {"rank": 3}, key=KEY)
    with pytest.raises(ValueError, match="prefs is a list: Preferences is expected"):
        fit([], FitConfig(SIMPLEX), key=KEY)


def test_preferences_without_pairs_are_refused():
    prefs = problem()
    silent = dataclasses.replace(prefs, pair_weight=np.zeros_like(prefs.pair_weight))
    for nothing in (silent, prefs.take_pairs(np.zeros(prefs.num_pairs, bool))):
        with pytest.raises(ValueError, match="there are no pairs with any weight"):
            fit(nothing, FitConfig(SIMPLEX), key=KEY)


@dataclasses.dataclass(frozen=True)
class Constant:
    """A predictor that has no basis: every margin is the same."""

    margin: float

    def adapted(self, shots, test):
        mean = np.full(test.num_pairs, self.margin, np.float32)
        return Margins(mean, np.zeros_like(mean))

    fitted = adapted

    def save(self, path, *, encoder=None):
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class WithoutBasis(ReferenceConfig):
    """Exports that predictor."""

    def export(self, fitted, layout, prefs):
        return Constant(0.5)


def test_a_method_without_a_basis_is_fitted_by_fit_predictor_alone():
    prefs, config = problem(), FitConfig(WithoutBasis())
    predictor, history = fit_predictor(prefs, config, key=KEY)
    assert predictor == Constant(0.5)
    assert history.choice == {}
    with pytest.raises(ValueError, match="WithoutBasis has no basis with weights: use fit_predic"):
        fit(prefs, config, key=KEY)


class OnDisk:
    """A table that is no array: its rows are read when they are asked for."""

    def __init__(self, table):
        self._table, self.shape, self.dtype = table, table.shape, table.dtype
        self.nbytes = table.nbytes

    def __getitem__(self, rows):
        return self._table[rows]


BRADLEY_TERRY = BradleyTerryConfig(ridge=1.0)


@pytest.mark.parametrize(
    "method", [POPULATION, SIMPLEX, BRADLEY_TERRY], ids=["population", "simplex", "Bradley-Terry"]
)
def test_a_table_on_disk_and_users_in_parts_give_the_same_fit(method, monkeypatch):
    prefs = problem()
    model, users, history = fit(prefs, FitConfig(method), key=KEY)
    monkeypatch.setattr(table_rows, "_BLOCK_BYTES", 4 * 7 * prefs.dim)
    for most in ("_PAIRS_AT_A_TIME", "_PAIRS_OF_A_CORE"):
        monkeypatch.setattr(buckets, most, 12)
    for program in (many_steps, first_state, learned):  # or a program made before would run
        program.cache_clear()
    stored = dataclasses.replace(prefs, embeddings=OnDisk(np.asarray(prefs.embeddings)))
    model_there, users_there, history_there = fit(stored, FitConfig(method), key=KEY)
    np.testing.assert_allclose(history_there.loss, history.loss, rtol=1e-4)
    chex.assert_trees_all_close(model_there, model, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(users_there.weights, users.weights, atol=1e-3)
    predicted = [
        lore.predict_proba(fitted, posterior, kept)
        for fitted, posterior, kept in ((model, users, prefs), (model_there, users_there, stored))
    ]
    np.testing.assert_allclose(*predicted, atol=1e-3)


def test_other_methods_need_the_table_in_memory():
    prefs = problem()
    stored = dataclasses.replace(prefs, embeddings=OnDisk(np.asarray(prefs.embeddings)))
    with pytest.raises(ValueError, match="larger than the memory that is free: the gaussian, simp"):
        fit_predictor(stored, FitConfig(VariationalConfig(steps=2)), key=KEY)
