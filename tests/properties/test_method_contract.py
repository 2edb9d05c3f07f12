"""A method that no file of the package knows: fitted, selected, stopped, resumed, adapted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import write_small_cache

import lore_jax as lore
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation.evaluate import conditions, evaluate
from lore_jax.methods.base import BasisPredictor, Info, Stage, predicted
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.parallel.buckets import PerUser, features
from lore_jax.parallel.devices import first_shard, total
from lore_jax.parallel.pytree import pytree
from lore_jax.runs import run as runs
from lore_jax.runs.config import RunConfig, SplitConfig
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.newton import map_estimate, newton_step
from lore_jax.storage.checkpoint.store import CheckpointStore
from lore_jax.users.adapt import adapt


# --- the method: a fixed random basis, of which only the spread of users' weights is chosen ---
@pytree
class State:
    directions: jax.Array
    weights: PerUser


@dataclasses.dataclass(frozen=True)
class RandomBasis:
    spread: float | None = None
    rank: int = 4
    rounds: int = 25
    loss_unit = "nats"
    num_minibatches = 1
    by_inner_products = False

    def stages(self, prefs):
        spreads = (0.3, 1.0) if self.spread is None else (self.spread,)
        return [Stage("spread", self, tuple({"spread": spread} for spread in spreads))]

    def variants(self):
        return [{}]

    def input_scale(self, prefs):
        return 1.0

    def hypers(self, choices, prefs):
        return [jnp.float32(choice["spread"]) for choice in choices]

    def num_steps(self, choices):
        return self.rounds

    def init(self, data, hyper, *, key):
        directions = jax.random.normal(key, (data.embeddings.shape[1], self.rank))
        counts = [bucket.chosen.shape[-1] for bucket in data.buckets]
        weights = PerUser(tuple(jnp.zeros((self.rank, count)) for count in counts))
        return State(directions * hyper, weights)

    def step(self, state, data, hyper):
        taken, losses = [], []
        for bucket, weights in zip(data.buckets, state.weights.buckets, strict=True):
            f = features(data.embeddings @ state.directions, bucket)
            margin = jnp.sum(f * weights[:, None], axis=0)
            losses.append(jnp.sum(bucket.pair_weight * LOGISTIC.loss(margin)))
            step = newton_step(f, jnp.zeros_like(margin), bucket.pair_weight, weights)
            taken.append(step.deviation)
        loss = total(sum(losses))
        return State(state.directions, PerUser(tuple(taken))), Info(loss, loss)

    def finish(self, state, data, hyper):
        return state.directions

    def predict(self, fitted, data, fold, hyper):
        out = []
        for bucket, roles in zip(data.buckets, fold, strict=True):
            f = features(data.embeddings @ fitted, bucket)
            start = jnp.zeros((self.rank, f.shape[-1]))
            user = map_estimate(f, jnp.zeros(f.shape[1:]), roles.shots, start)
            out.append(predicted(LOGISTIC, jnp.sum(f * user.deviation[:, None], axis=0)[None]))
        return out

    def export(self, fitted, layout, prefs):
        prior = GaussianPrior(jnp.zeros(self.rank), jnp.eye(self.rank))
        params = {"V": jnp.asarray(first_shard(fitted))}
        model = Model(LinearBasis(self.rank), params, jnp.ones(()), prior)
        return BasisPredictor(model, adapt(model, prefs))


# --- what the package does with it ---
SPLIT = SplitConfig(items=("new items",), min_train=1, min_test=1)


@pytest.fixture(scope="module")
def prefs():
    config = SyntheticConfig(num_users=24, num_prompts=40, pairs_per_user=(12, 12), dim=8, rank=3)
    return synthetic(config, seed=0).prefs


def test_it_is_fitted_selected_and_evaluated(prefs):
    split = lore.four_way(prefs, items=("new items",), seed=0)
    config = lore.FitConfig(RandomBasis())
    model, users, history = lore.fit(split.train, config, key=jax.random.key(0))
    assert history.choice in ({"spread": 0.3}, {"spread": 1.0})
    assert history.sweeps[0].name == "spread"
    assert len(history.sweeps[0].settings) == 2
    assert history.loss[-1] < history.loss[0]
    assert users.converged.all()
    # More steps arrive where adapting does: the state's weights are the users' modes.
    rows = evaluate(
        {"random": BasisPredictor(model, users)}, conditions(split), shots=(0, 8), seed=0
    )
    assert {(row["users"], row["shots"]) for row in rows} >= {("unseen", 0), ("unseen", 8)}
    new = lore.adapt(model, lore.draw_shots(split.shots, 8, seed=0))
    assert new.weights.shape == (split.shots.num_users, 4)


def test_on_eight_devices_and_by_pmap_it_is_the_same(prefs):
    config = lore.FitConfig(RandomBasis(spread=1.0, rounds=3))
    alone, *_ = lore.fit(prefs, config, key=jax.random.key(0))
    for mapping in ("jit", "pmap"):
        key = jax.random.key(0)
        many, *_ = lore.fit(prefs, config, key=key, devices=jax.devices(), mapping=mapping)
        np.testing.assert_allclose(many.params["V"], alone.params["V"], atol=1e-6)


def test_it_is_stopped_resumed_and_loaded(tmp_path, monkeypatch):
    write_small_cache(tmp_path / "cache")
    config = RunConfig(
        split=SPLIT, fit=lore.FitConfig(RandomBasis()), chunk=5, checkpoint_seconds=0
    )
    whole = runs.run_fit(tmp_path / "cache", tmp_path / "whole", config)
    assert whole.run.is_finished
    assert whole.run.manifest["config"]["fit"]["method"]["name"] == "RandomBasis"
    save, saved = CheckpointStore.save, []

    def save_and_stop(self, step, *rest):
        save(self, step, *rest)
        saved.append(step)
        if step == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointStore, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        runs.run_fit(tmp_path / "cache", tmp_path / "run", config)
    resumed = runs.run_fit(tmp_path / "cache", tmp_path / "run", config, resume=True)
    assert (resumed.resumed_from, resumed.step) == (10, 25)
    model, users = lore.load(tmp_path / "run" / "model")
    expected, expected_users = lore.load(tmp_path / "whole" / "model")
    np.testing.assert_array_equal(model.params["V"], expected.params["V"])
    np.testing.assert_array_equal(users.weights, expected_users.weights)
