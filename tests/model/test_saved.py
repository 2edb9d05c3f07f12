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
from lore_jax.model.prior import GaussianPrior, ItemEffects, MixturePrior, SimplexPrior
from lore_jax.model.saved import CARD, FORMAT_VERSION, load, save, saved_encoder
from lore_jax.model.saved_parts import storable
from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.likelihood import Logistic
from lore_jax.solvers.mixture import one_component
from lore_jax.storage.checkpoint.store import CheckpointStore

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(40, 12)).astype(np.float32)


MEAN = jnp.arange(3.0) / 3
FACTOR = jnp.asarray(RNG.normal(size=(3, 2)), jnp.float32)


def make_model(basis, prior=None, temperature=1.0):
    params = basis.init(jax.random.key(1), jnp.ones((1, 12)), 1.0)["params"]
    prior = prior or GaussianPrior(MEAN, FACTOR)
    return Model(basis, params, jnp.float32(3.5), prior, temperature)


def with_effects(model):
    values = jnp.asarray(RNG.normal(size=(9, 3)), jnp.float32)
    share = RNG.uniform(size=(9, 2)).astype(np.float32)
    effects = ItemEffects(response_keys(TABLE[:9]), values, jnp.ones(3), share)
    return model.replace(item_effects=effects)


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
        make_model(LinearBasis(3, init_scale=0.25), SimplexPrior(MEAN), 100.0),
        make_model(MLPBasis(3, hidden=(7, 5))),
        make_model(LinearBasis(3), MixturePrior(MEAN, FACTOR, one_component(2, 4))),
        with_effects(make_model(LinearBasis(3))),
    ],
    ids=["linear", "simplex", "mlp", "mixture", "item effects"],
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
        assert again.prior.factor.shape == (1, 0)
        np.testing.assert_array_equal(rewards(again, TABLE).table, rewards(model, TABLE).table)


def test_overwriting_is_explicit(tmp_path):
    old, new = make_model(LinearBasis(3)), make_model(MLPBasis(3))
    save(tmp_path / "model", old)
    with pytest.raises(FileExistsError, match="holds a model already"):
        save(tmp_path / "model", new)
    assert load(tmp_path / "model")[0].basis == old.basis
    # A model card beside the arrays is tolerated, and goes with the model that it is about.
    card = tmp_path / "model" / CARD
    card.write_text("# A model\n")
    assert load(tmp_path / "model")[0].basis == old.basis
    with pytest.raises(FileExistsError, match="holds a model already"):
        save(tmp_path / "model", new)
    assert card.exists()
    save(tmp_path / "model", new, overwrite=True)
    assert not card.exists()
    assert load(tmp_path / "model")[0].basis == new.basis
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("")
    with pytest.raises(
        FileExistsError, match=r"holds 'thesis.tex', which is no part of a saved model"
    ):
        save(tmp_path / "thesis", new, overwrite=True)
    assert [entry.name for entry in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


class Stranger(nn.Module):
    @nn.compact
    def __call__(self, embeddings, input_scale):
        return nn.Dense(3)(embeddings)


def test_what_is_no_model_is_refused(tmp_path):
    stranger = make_model(LinearBasis(3)).replace(basis=Stranger())
    with pytest.raises(
        ValueError,
        match=r"basis is a Stranger: only .*LinearBasis or .* can be saved; see storable",
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
        about = {"format_version": FORMAT_VERSION, "temperature": 1.0, "encoder": None}
        extra = {**about, "parts": {name: {"name": "Later"} for name in ("basis", "prior")}}
        store.save(0, {"a": np.ones(2)}, extra)
    with pytest.raises(
        ValueError, match=r"a Later was saved: .*LinearBasis or .* is expected; see storable"
    ):
        load(tmp_path / "later")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"basis": {"name": "LinearBasis"}}, "version 1, this lore_jax reads 3: fit and save it"),
        ({"format_version": 4, "parts": {}}, "version 4, this lore_jax reads 3: update lore_jax"),
    ],
    ids=["older", "newer"],
)
def test_another_format_is_refused_in_one_line(tmp_path, extra, message):
    with CheckpointStore(tmp_path / "model") as store:
        store.save(0, {"params": {"V": np.ones((12, 3))}}, extra)
    for read in (load, saved_encoder):
        with pytest.raises(ValueError, match=message) as refusal:
            read(tmp_path / "model")
        assert "\n" not in str(refusal.value)


def test_the_encoder_is_kept(tmp_path):
    save(tmp_path / "with", make_model(LinearBasis(3)), encoder={"model": "minilm", "layers": [6]})
    assert saved_encoder(tmp_path / "with") == {"model": "minilm", "layers": [6]}
    save(tmp_path / "without", make_model(LinearBasis(3)))
    assert saved_encoder(tmp_path / "without") is None


@storable
class Squared(nn.Module):
    """A basis of one's own."""

    rank: int
    widths: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, embeddings, input_scale):
        directions = self.param("V", nn.initializers.normal(), (embeddings.shape[-1], self.rank))
        return (embeddings / input_scale) ** 2 @ directions


@storable
@pytree
class Doubtful(Logistic):
    """A likelihood of one's own, with a number and an array."""

    share: float = static(default=0.1)
    levels: jax.Array | None = None


@storable
@pytree
class Shifted(GaussianPrior):
    """A prior of one's own."""

    shift: jax.Array


def test_parts_of_ones_own_are_kept(tmp_path):
    levels, shift = jnp.arange(4.0), jnp.ones(3)
    prior = Shifted(MEAN, FACTOR, shift)
    model = make_model(Squared(3, widths=(4, 2)), prior).replace(
        likelihood=Doubtful(share=0.25, levels=levels)
    )
    save(tmp_path / "model", model)
    again, _ = load(tmp_path / "model")
    assert again.basis == model.basis
    assert (type(again.likelihood), again.likelihood.share) == (Doubtful, 0.25)
    np.testing.assert_array_equal(again.likelihood.levels, levels)
    assert isinstance(again.prior, Shifted)
    np.testing.assert_array_equal(again.prior.shift, shift)
    assert jax.tree.structure(again) == jax.tree.structure(model)
    np.testing.assert_array_equal(rewards(again, TABLE).table, rewards(model, TABLE).table)


def test_a_likelihood_that_is_not_registered_is_refused(tmp_path):
    @pytree
    class Unregistered(Logistic):
        pass

    model = make_model(LinearBasis(3)).replace(likelihood=Unregistered())
    with pytest.raises(ValueError, match=r"likelihood is a Unregistered: only .* see storable"):
        save(tmp_path / "model", model)
    assert not list(tmp_path.iterdir())


PREDICT = """
    import sys
    import jax, numpy as np
    from lore_jax.model.saved import load
    from lore_jax.users.score import score
    assert len(jax.devices()) == int(sys.argv[2])
    model, users = load(sys.argv[1] + "/model")
    found = score(model, users, np.load(sys.argv[1] + "/table.npy"))
    np.testing.assert_allclose(found, np.load(sys.argv[1] + "/scores.npy"), atol=1e-5)
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
