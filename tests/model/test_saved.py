"""A saved model predicts what the model did, with its users and their names; and nothing else is
taken for one.
"""

import os
import subprocess
import sys
import textwrap

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model.basis import LinearBasis, MLPBasis
from lore_jax.model.model import Model, bradley_terry_model, reference_head, response_keys, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import ItemEffects, Population
from lore_jax.model.saved import load, save
from lore_jax.storage.checkpoint.store import CheckpointStore

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(40, 12)).astype(np.float32)


def make_model(basis, family="gaussian"):
    params = basis.init(jax.random.key(1), jnp.ones((1, 12)), 1.0)["params"]
    population = Population(jnp.arange(3.0) / 3, jnp.asarray(RNG.normal(size=(3, 2)), jnp.float32))
    return Model(
        basis, params, jnp.float32(3.5), population, family, 100.0 if family == "simplex" else 1.0
    )


def with_terms(model):
    values = jnp.asarray(RNG.normal(size=(9, 3)), jnp.float32)
    return model.replace(terms=ItemEffects(response_keys(TABLE[:9]), values, jnp.ones(3)))


def make_users(count=5, user_ids=None):
    return Posterior(
        weights=RNG.normal(size=(count, 3)).astype(np.float32),
        covariance=RNG.normal(size=(count, 3, 3)).astype(np.float32),
        shots=np.arange(count, dtype=np.int32),
        converged=np.arange(count) % 2 == 0,
        steps=np.arange(count, dtype=np.int32),
        grad_norm=RNG.random(count, np.float32),
        user_ids=user_ids,
    )


@pytest.mark.parametrize(
    "model",
    [
        make_model(LinearBasis(3)),
        make_model(LinearBasis(3, init_scale=0.25), "simplex"),
        make_model(MLPBasis(3, hidden=(7, 5))),
        with_terms(make_model(LinearBasis(3))),
    ],
    ids=["linear", "simplex", "mlp", "terms"],
)
def test_same_model_and_users(tmp_path, model):
    users = make_users(user_ids=np.array(["ann", "böb", "\u2028", "eve", "no pairs"]))
    save(tmp_path / "model", model, users)
    again, users_again = load(tmp_path / "model")
    assert again.basis == model.basis
    np.testing.assert_array_equal(users_again.user_ids, users.user_ids)
    users_again = users_again.replace(user_ids=users.user_ids)
    assert jax.tree.structure((again, users_again)) == jax.tree.structure((model, users))
    for one, other in zip(
        jax.tree.leaves((again, users_again)), jax.tree.leaves((model, users)), strict=True
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(rewards(again, TABLE).table, rewards(model, TABLE).table)


def test_without_users_and_with_an_empty_factor(tmp_path):
    for number, model in enumerate(
        [
            reference_head(TABLE[0]),
            bradley_terry_model(LinearBasis(1), {"V": jnp.ones((12, 1))}, 2.0),
        ]
    ):
        save(tmp_path / str(number), model)
        again, users = load(tmp_path / str(number))
        assert users is None
        assert again.population.factor.shape == (1, 0)
        np.testing.assert_array_equal(rewards(again, TABLE).table, rewards(model, TABLE).table)


def test_overwriting_is_explicit(tmp_path):
    old, new = make_model(LinearBasis(3)), make_model(MLPBasis(3))
    save(tmp_path / "model", old)
    with pytest.raises(FileExistsError, match="holds a model already"):
        save(tmp_path / "model", new)
    assert load(tmp_path / "model")[0].basis == old.basis
    save(tmp_path / "model", new, overwrite=True)
    assert load(tmp_path / "model")[0].basis == new.basis
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(
        FileExistsError, match=r"holds 'thesis.tex', which is no part of a saved model"
    ):
        save(tmp_path / "mine", new, overwrite=True)
    assert [entry.name for entry in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


class Stranger(nn.Module):
    @nn.compact
    def __call__(self, embeddings, input_scale):
        return nn.Dense(3)(embeddings)


def test_what_is_no_model_is_refused(tmp_path):
    stranger = make_model(LinearBasis(3)).replace(basis=Stranger())
    with pytest.raises(
        ValueError, match="the basis is a Stranger: only LinearBasis or MLPBasis can be saved"
    ):
        save(tmp_path / "model", stranger)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="model is not a folder"):
        load(tmp_path / "model")
    with CheckpointStore(tmp_path / "state") as store:
        store.save(0, {"a": np.ones(2)}, {"kind": "something"})
    with pytest.raises(ValueError, match="holds kind, but no model"):
        load(tmp_path / "state")
    with CheckpointStore(tmp_path / "later") as store:
        store.save(0, {"a": np.ones(2)}, {"basis": {"name": "Later"}})
    with pytest.raises(
        ValueError, match="the basis saved is a Later: LinearBasis or MLPBasis is expected"
    ):
        load(tmp_path / "later")


PREDICT = """
    import sys
    import jax, numpy as np
    from lore_jax.model.saved import load
    from lore_jax.users.score import score
    assert len(jax.devices()) == int(sys.argv[2])
    model, users = load(sys.argv[1] + "/model")
    np.testing.assert_allclose(
        score(model, users, np.load(sys.argv[1] + "/table.npy")), np.load(sys.argv[1] + "/scores.npy"), atol=1e-5
    )
"""


@pytest.mark.parametrize("devices", [1, 4])
def test_saved_from_eight_devices_predicts_on_others(tmp_path, devices):
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from lore_jax.users.score import score

    model = make_model(LinearBasis(3))
    whole = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec())
    split = NamedSharding(whole.mesh, PartitionSpec("data"))
    users = make_users(8)
    np.save(tmp_path / "table.npy", TABLE)
    np.save(tmp_path / "scores.npy", score(model, users, TABLE))
    assert len(jax.devices()) == 8
    save(tmp_path / "model", jax.device_put(model, whole), jax.device_put(users, split))
    env = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        textwrap.dedent(PREDICT),
        str(tmp_path),
        str(devices),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
