"""The contract of likelihoods: one written here, a probit, serves every solver and every fit.

It has no concordance, so that the lengths of Newton steps rest on its ceiling; and, unlike the
logistic's, its prediction under a Gaussian margin is exact.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.scipy.special import log_ndtr
from scipy.special import log_ndtr as exact_log_ndtr
from scipy.special import logsumexp
from small_run import write_small_cache

import lore_jax as lore
from lore_jax.data.four_way import four_way
from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.evaluate import conditions, evaluate
from lore_jax.fitting.config import FitConfig
from lore_jax.methods.base import BasisPredictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.model.model import rms_row_norm
from lore_jax.model.saved import load, save
from lore_jax.model.saved_parts import storable
from lore_jax.parallel.pytree import pytree
from lore_jax.runs.config import RunConfig, SplitConfig
from lore_jax.runs.run import run_fit
from lore_jax.solvers.interior_point import simplex_estimate
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.mixture import Mixture, mixture_estimate
from lore_jax.solvers.newton import map_estimate
from lore_jax.storage.checkpoint.store import CheckpointStore
from lore_jax.users.predict import Margins, margins


@storable
@pytree
class Probit:
    """`P(chosen) = Phi(z)`."""

    @property
    def concordance(self):
        return None

    @property
    def ceiling(self):
        return 1.0

    def loss(self, margin):
        return -log_ndtr(margin)

    def slope(self, margin):
        return -jnp.exp(-0.5 * margin**2 - log_ndtr(margin)) / jnp.sqrt(2.0 * jnp.pi)

    def curvature(self, margin):
        slope = self.slope(margin)
        return jnp.maximum(slope * (slope - margin), 0.0)

    def predictive(self, mean, variance):
        return log_ndtr(mean / jnp.sqrt(1.0 + variance))


PROBIT = Probit()
K, SHOTS, USERS = 3, 12, 5


def loss(margin):
    return -exact_log_ndtr(margin)


def slope(margin):
    return -np.exp(-0.5 * margin**2 - exact_log_ndtr(margin)) / np.sqrt(2.0 * np.pi)


def curvature(margin):
    return slope(margin) * (slope(margin) - margin)


def problem(seed=0, scale=1.0):
    """Users who choose by weights of their own, now and then against them."""
    rng = np.random.default_rng(seed)
    features = scale * rng.standard_normal((K, SHOTS, USERS))
    sign = np.sign(np.einsum("ksu,ku->su", features, rng.standard_normal((K, USERS))))
    sign *= np.where(rng.random((SHOTS, USERS)) < 0.2, -1.0, 1.0)
    weight = rng.uniform(0.5, 2.0, (SHOTS, USERS))
    weight[8:, 0] = 0.0
    return [
        array.astype(np.float32)
        for array in (features * sign, 0.5 * rng.standard_normal((SHOTS, USERS)), weight)
    ]


def mode_of(features, offset, weight, centre, precision):
    """A user's mode, Hessian and objective there under a Gaussian, by scipy in float64."""

    def value(d):
        return weight @ loss(offset + d @ features) + (d - centre) @ precision @ (d - centre) / 2

    def gradient(d):
        return features @ (weight * slope(offset + d @ features)) + precision @ (d - centre)

    def hessian(d):
        return (features * (weight * curvature(offset + d @ features))) @ features.T + precision

    options = {"gtol": 1e-10}
    mode = scipy.optimize.minimize(
        value, centre, jac=gradient, hess=hessian, method="trust-exact", options=options
    ).x
    return mode, hessian(mode), value(mode)


def user_of(arrays, user):
    return [np.asarray(array[..., user], np.float64) for array in arrays]


def test_the_probit_is_a_likelihood():
    grid = np.linspace(-8.0, 5.0, 261)
    single = jnp.asarray(grid, jnp.float32)
    np.testing.assert_allclose(PROBIT.loss(single), loss(grid), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(PROBIT.slope(single), slope(grid), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(PROBIT.curvature(single), curvature(grid), rtol=2e-3, atol=1e-5)
    assert np.asarray(PROBIT.curvature(single)).max() <= PROBIT.ceiling
    mean, variance = np.linspace(-3, 3, 13), 2.0
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    inside = np.exp(exact_log_ndtr(mean[:, None] + np.sqrt(variance) * node))
    exact = inside @ weight / np.sqrt(2 * np.pi)
    found = Margins(mean, np.full(13, variance), PROBIT).probability
    np.testing.assert_allclose(found, exact, atol=1e-5)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_the_mode_is_that_of_scipy(scale):
    arrays = problem(scale=scale)
    found = jax.jit(map_estimate)(*arrays, jnp.zeros((K, USERS)), likelihood=PROBIT)
    assert np.asarray(found.converged).all(), found.steps
    for user in range(USERS):
        mode, hessian, _ = mode_of(*user_of(arrays, user), np.zeros(K), np.eye(K))
        np.testing.assert_allclose(found.deviation[:, user], mode, atol=1e-4)
        np.testing.assert_allclose(found.covariance[..., user], np.linalg.inv(hessian), atol=1e-3)


def test_the_mode_is_reached_from_afar_in_few_steps():
    # Nobody errs, and the start is so sure of it that the loss is hardly curved there: its ceiling
    # alone would allow steps so short that hundreds were needed.
    features, offset, weight = problem(scale=3.0)
    arrays = np.abs(features), offset, weight
    from_nothing = jax.jit(map_estimate)(*arrays, jnp.zeros((K, USERS)), likelihood=PROBIT)
    far = jax.jit(map_estimate)(*arrays, jnp.full((K, USERS), 5.0), likelihood=PROBIT)
    for found in (from_nothing, far):
        assert np.asarray(found.converged).all()
        assert np.asarray(found.steps).max() <= 15
    np.testing.assert_allclose(far.deviation, from_nothing.deviation, atol=1e-4)


def test_the_mean_under_a_mixture_is_that_of_scipy():
    arrays = problem(1)
    rng = np.random.default_rng(2)
    share, centre = np.array([0.6, 0.4]), rng.standard_normal((2, K))
    spread = 0.7 * np.eye(K) + 0.2 * np.tril(rng.standard_normal((2, K, K)))
    parts = [np.asarray(part, np.float32) for part in (np.log(share), centre, spread)]
    found = jax.jit(mixture_estimate)(*arrays, Mixture(*parts), likelihood=PROBIT)
    assert np.asarray(found.converged).all(), found.steps
    for user in range(USERS):
        modes, covariances, evidences = [], [], []
        for log_share, middle, root in zip(
            *(part.astype(np.float64) for part in parts), strict=True
        ):
            precision = np.linalg.inv(root @ root.T)
            mode, hessian, value = mode_of(*user_of(arrays, user), middle, precision)
            modes.append(mode)
            covariances.append(np.linalg.inv(hessian))
            determinants = np.linalg.slogdet(hessian)[1] - np.linalg.slogdet(precision)[1]
            evidences.append(log_share - value - determinants / 2)
        posterior = np.exp(np.array(evidences) - logsumexp(evidences))
        mean = posterior @ np.array(modes)
        away = np.array(modes) - mean
        covariance = np.einsum("c,cij->ij", posterior, covariances)
        covariance += (posterior[:, None] * away).T @ away
        np.testing.assert_allclose(found.deviation[:, user], mean, atol=1e-4)
        np.testing.assert_allclose(found.covariance[..., user], covariance, atol=1e-3)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_weights_on_the_simplex_are_those_of_scipy(scale):
    features, _, weight = problem(3, scale)
    found = jax.jit(simplex_estimate)(features, weight, likelihood=PROBIT)
    assert np.asarray(found.converged).all(), found.steps
    for user in range(USERS):
        f, c = user_of((features, weight), user)
        c = c / c.sum()

        def value(w, f=f, c=c):
            return c @ loss(w @ f), f @ (c * slope(w @ f))

        expected = scipy.optimize.minimize(
            value,
            np.full(K, 1 / K),
            jac=True,
            bounds=[(0.0, 1.0)] * K,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones(K)},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        own = np.asarray(found.weights[:, user], np.float64)
        assert value(own / own.sum())[0] - expected.fun <= float(found.gap[user]) + 1e-8
        np.testing.assert_allclose(own, expected.x, atol=5e-3)


def choices(users=12, prompts=16, dim=4, pairs=12):
    """Pairs of the three responses to a prompt, chosen by tastes of people's own."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((3 * prompts, dim)).astype(np.float32)
    user = np.repeat(np.arange(users), pairs)
    prompt, left = rng.integers(prompts, size=len(user)), rng.integers(3, size=len(user))
    chosen = 3 * prompt + left
    rejected = 3 * prompt + (left + rng.integers(1, 3, size=len(user))) % 3
    taste = np.array([1.0, -0.5, 0.3, 0.0]) + 0.7 * rng.standard_normal((users, dim))
    margin = np.sum(taste[user] * (table[chosen] - table[rejected]), axis=1)
    turned = margin + rng.standard_normal(len(user)) < 0
    left, right = np.where(turned, rejected, chosen), np.where(turned, chosen, rejected)
    return from_arrays(table, left, right, user, prompt=prompt)


def test_one_direction_for_everybody_is_that_of_scipy():
    prefs, ridge = choices(), 2.0
    config = FitConfig(BradleyTerryConfig(ridge, likelihood=PROBIT))
    model, _, _ = lore.fit(prefs, config, key=jax.random.key(0))
    scale = rms_row_norm(prefs.embeddings)
    table = np.asarray(prefs.embeddings, np.float64) / scale
    pairs = table[prefs.chosen] - table[prefs.rejected]

    def value(v):
        return np.sum(loss(pairs @ v)) + ridge * v @ v, pairs.T @ slope(pairs @ v) + 2 * ridge * v

    expected = scipy.optimize.minimize(
        value, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    np.testing.assert_allclose(scale * model.params["V"][:, 0], expected.x, atol=1e-4)
    assert model.likelihood == PROBIT


GIVEN = {
    "gaussian": PopulationConfig(
        steps=12,
        rank=2,
        ridge_population=2.0,
        ridge_deviation=2.0,
        item_effects=0.5,
        item_effects_deviation=0.5,
        num_components=2,
        logit_scale=1.0,
        likelihood=PROBIT,
    ),
    "simplex": SimplexConfig(
        rank=2, steps=20, learning_rate=0.1, temperature=1.0, likelihood=PROBIT
    ),
    "bradley-terry": BradleyTerryConfig(2.0, likelihood=PROBIT),
}
SELECTED = {
    "gaussian": dataclasses.replace(GIVEN["gaussian"], ridge_deviation=None, num_components=None),
    "simplex": dataclasses.replace(GIVEN["simplex"], rank=None),
    "bradley-terry": BradleyTerryConfig(likelihood=PROBIT),
}


@pytest.mark.parametrize("chosen", ["given", "selected"])
@pytest.mark.parametrize("name", GIVEN)
def test_every_method_fits_adapts_predicts_and_is_saved(name, chosen, tmp_path):
    method = (GIVEN if chosen == "given" else SELECTED)[name]
    prefs = choices()
    config = FitConfig(method, folds=2, group_by="prompt")
    model, users, history = lore.fit(prefs, config, key=jax.random.key(0))
    assert bool(history.sweeps) == (chosen == "selected")
    # Settings that cannot win any more are spared folds.
    assert np.isfinite([table.loss[table.best].mean() for table in history.sweeps]).all()
    assert model.likelihood == PROBIT
    found = margins(model, users, prefs)
    assert np.mean(found.mean > 0) > 0.6
    expected = exact_log_ndtr(found.mean / np.sqrt(1.0 + found.variance))
    np.testing.assert_allclose(found.log_probability, expected, rtol=1e-3, atol=1e-5)
    adapted = lore.adapt(model, prefs)
    assert adapted.converged.all()
    save(tmp_path / "model", model, users)
    again, _ = load(tmp_path / "model")
    assert again.likelihood == PROBIT
    np.testing.assert_array_equal(lore.adapt(again, prefs).weights, adapted.weights)


def test_users_are_adapted_by_the_probit_and_not_by_the_logistic():
    prefs = choices()
    model, _, _ = lore.fit(prefs, FitConfig(GIVEN["gaussian"]), key=jax.random.key(0))
    logistic = model.replace(likelihood=LOGISTIC)
    apart = lore.adapt(model, prefs).weights - lore.adapt(logistic, prefs).weights
    assert np.abs(apart).max() > 0.01


def test_it_is_evaluated():
    prefs = choices(users=24)
    split = four_way(prefs, group_by="prompt", items=("new items",), seed=0)
    model, users, _ = lore.fit(split.train, FitConfig(GIVEN["gaussian"]), key=jax.random.key(0))
    methods = {"probit": BasisPredictor(model, users)}
    rows = evaluate(methods, conditions(split), shots=(0, 5), seed=0)
    (row,) = [
        row for row in rows if (row["users"], row["shots"], row["control"]) == ("seen", None, None)
    ]
    test = split.tests["seen", "new items"]
    found = margins(model, users, test)
    expected = -exact_log_ndtr(found.mean / np.sqrt(1.0 + found.variance))
    of_users = [expected[test.user == user].mean() for user in np.unique(test.user)]
    assert row["log_loss"] == pytest.approx(np.mean(of_users), rel=1e-4)


@pytest.mark.parametrize("name", ["gaussian", "simplex"])
def test_a_run_resumes_where_it_stopped(name, tmp_path, monkeypatch):
    cache = write_small_cache(tmp_path / "cache")
    config = RunConfig(
        fit=FitConfig(GIVEN[name]),
        split=SplitConfig(items=("new items",)),
        chunk=5,
        checkpoint_seconds=0.0,
        devices=1,
    )
    whole = run_fit(cache, tmp_path / "whole", config).run
    assert whole.manifest["config"]["fit"]["method"]["likelihood"] == "Probit"
    store_step = CheckpointStore.save

    def save_and_stop(self, step, *rest):
        store_step(self, step, *rest)
        if step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run_fit(cache, tmp_path / "run", config)
    resumed = run_fit(cache, tmp_path / "run", config, resume=True)
    assert (resumed.resumed_from, resumed.run.is_finished) == (5, True)
    ends = [load(run.path / "model") for run in (resumed.run, whole)]
    assert ends[0][0].likelihood == PROBIT
    for one, other in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(one, other)
    other_likelihood = dataclasses.replace(GIVEN[name], likelihood=LOGISTIC)
    with pytest.raises(ValueError, match=r"likelihood Logistic \(it has Probit\)"):
        run_fit(
            cache,
            tmp_path / "run",
            dataclasses.replace(config, fit=FitConfig(other_likelihood)),
            resume=True,
        )
