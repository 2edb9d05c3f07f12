"""The models that commands take, and the caches that fit them."""

import pytest
from small_objects import small_objects

from lore_jax.cli.models import load_model, refuse_other_encoder
from lore_jax.model.saved import save
from lore_jax.storage.cache.writer import CacheWriter

ENCODER = {"model": "synthetic", "pooling": "last"}


def write_cache(path, encoder):
    with CacheWriter(path, dim=8, dtype="float32", encoder=encoder) as writer:
        writer.append(small_objects()["prefs"].embeddings)
        writer.finish(chosen=[0], rejected=[1], user=[0])
    return path


def test_a_cache_of_another_encoder_is_refused(tmp_path):
    small = small_objects()
    save(tmp_path / "model", small["model"], small["users"], encoder=ENCODER)
    loaded = load_model(tmp_path / "model")
    assert loaded.users.num_users == small["users"].num_users
    refuse_other_encoder(loaded, write_cache(tmp_path / "same", ENCODER))
    other = write_cache(tmp_path / "other", {"model": "synthetic", "pooling": "mean"})
    with pytest.raises(ValueError, match=r"model: pooling 'mean' \(fitted on 'last'\)$"):
        refuse_other_encoder(loaded, other)
    refuse_other_encoder(loaded._replace(encoder=None), other)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="is neither a run nor a saved model"):
        load_model(tmp_path)
