"""Weights of a model's folder: loaded layer by layer, or refused name by name."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.common.tiny_model import (
    decoder_config,
    decoder_weights,
    write_reward_model,
)
from lore_jax.embed import load_encoder
from lore_jax.embed.transformer.config_file import read_architecture
from lore_jax.embed.transformer.placement import make_placement
from lore_jax.embed.transformer.weights import load_params, model_identity


def first_device(folder, dtype=None):
    model = read_architecture(folder)
    return load_params(folder, model, make_placement(model, jax.devices()[:1]), dtype)


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_weights(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def truncate(path, fraction=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


def delete(*names):
    def change(weights):
        for name in names:
            del weights[name]

    return change


def test_weights_are_stacked_by_layer(tmp_path):
    folder = write_reward_model(tmp_path / "model")
    stored = decoder_weights(decoder_config())
    params, head = first_device(folder)
    for layer in (0, 1):
        np.testing.assert_array_equal(
            params.layers["up"][layer], stored[f"model.layers.{layer}.mlp.up_proj.weight"]
        )
    np.testing.assert_array_equal(params.single["embedding"], stored["model.embed_tokens.weight"])
    np.testing.assert_array_equal(head, stored["score.weight"][0])
    assert params.single["embedding"].dtype == jnp.float32


def test_shards_and_number_types(tmp_path):
    one, _ = first_device(write_reward_model(tmp_path / "one"))
    three, _ = first_device(write_reward_model(tmp_path / "three", shards=3))
    half, _ = first_device(tmp_path / "three", jnp.bfloat16)
    jax.tree.map(np.testing.assert_array_equal, one, three)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(jnp.bfloat16), b), one, half)


def test_names_without_the_family_prefix_and_parts_that_are_not_needed(tmp_path):
    folder = write_reward_model(tmp_path / "model")
    expected, _ = first_device(folder)

    def rename(weights):
        for name in list(weights):
            weights[name.removeprefix("model.")] = weights.pop(name)
        weights["lm_head.weight"] = np.zeros((3, 3), np.float32)
        weights["layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(4, np.float32)

    change_weights(folder, rename)
    jax.tree.map(np.testing.assert_array_equal, first_device(folder)[0], expected)


NORM, UP = "model.norm.weight", "model.layers.1.mlp.up_proj.weight"


# what is done to the folder, the error, what its message says
CORRUPTIONS = {
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        FileNotFoundError,
        "has no weights",
    ),
    "pickled weights": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        FileNotFoundError,
        "pytorch_model.bin may run code when it is loaded: convert it to safetensors",
    ),
    "half-downloaded": (
        lambda f: truncate(f / "model.safetensors"),
        ValueError,
        "model.safetensors is truncated",
    ),
    "not safetensors": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs"),
        ValueError,
        "corrupt",
    ),
    "missing names": (
        lambda f: change_weights(f, delete(NORM, UP)),
        ValueError,
        f"missing: {NORM}, {UP}",
    ),
    "no names at all": (
        lambda f: save_file({}, f / "model.safetensors"),
        ValueError,
        "and 13 more",
    ),
    "unexpected name": (
        lambda f: change_weights(f, lambda w: w.update(extra=np.zeros(3, np.float32))),
        ValueError,
        "unexpected: extra",
    ),
    "another shape": (
        lambda f: change_weights(f, lambda w: w.update({NORM: np.zeros(31, np.float32)})),
        ValueError,
        r"model.norm.weight is \[31\], \[32\] is expected",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_folder_that_is_not_a_whole_model_is_refused(expect_refusal, name):
    expect_refusal(*CORRUPTIONS[name])


def test_a_missing_shard_is_named(tmp_path):
    folder = write_reward_model(tmp_path / "model", shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError,
        match=r"model-00002-of-00003.safetensors is missing, which .*index.json names",
    ):
        load_encoder(folder)
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json is corrupt"):
        load_encoder(folder)


def test_the_identity_follows_the_content_not_the_folder(tmp_path):
    one = model_identity(write_reward_model(tmp_path / "one"))
    cached = tmp_path / "models--org--name" / "snapshots" / "abc123"
    two = model_identity(write_reward_model(cached))
    assert two == {"model": "org/name", "revision": "abc123", "sha256": one["sha256"]}
    assert one["model"] == "one"
    change_config(cached, rms_norm_eps=1e-6)
    assert model_identity(cached)["sha256"] != one["sha256"]
