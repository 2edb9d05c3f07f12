"""`lore-jax adapt --weights mean` against the function it calls."""

import jax.numpy as jnp
import numpy as np
from command_line import run

import lore_jax as lore
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.storage.cache.writer import CacheWriter

CONFIG = SyntheticConfig(num_users=5, num_prompts=10, pairs_per_user=(4, 4), dim=6, rank=2)


def test_the_mean_for_the_mode(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    truth = synthetic(CONFIG, seed=0)
    lore.save("model", truth.model)
    with CacheWriter("cache", dim=6, dtype="float32") as writer:
        writer.append(truth.prefs.embeddings)
        columns = ("chosen", "rejected", "user", "prompt")
        writer.finish(**{name: getattr(truth.prefs, name) for name in columns})
    run(capsys, "adapt", "model", "cache", "--out", "users", "--weights", "mean")
    model, users = lore.load("users")
    expected = lore.expected_weights(truth.model, truth.prefs)
    assert users is not None
    np.testing.assert_allclose(users.weights, expected.weights, atol=1e-5)
    assert type(model.prior) is type(truth.model.prior)
    np.testing.assert_array_equal(jnp.asarray(model.prior.mean), truth.model.prior.mean)
