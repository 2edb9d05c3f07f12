import re

import pytest
from small_objects import small_objects

import lore_jax as lore
from lore_jax.data.encoder_identity import check_encoder, differences, identity_of
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.cache.writer import CacheWriter

ENCODER = {"model": "small", "sha256": "ab", "pooling": "mean", "max_length": 512}


class Described:
    def __init__(self, **described):
        self.describe = lambda: described


@pytest.mark.parametrize(
    ("found", "expected", "difference"),
    [
        (ENCODER, ENCODER, None),
        ({**ENCODER, "model": "folder", "revision": "3"}, ENCODER, None),  # the same files
        ({**ENCODER, "sha256": "cd"}, ENCODER, "sha256 'cd' (fitted on 'ab')"),
        ({**ENCODER, "pooling": "last"}, ENCODER, "pooling 'last' (fitted on 'mean')"),
        ({"model": "small"}, ENCODER, "sha256 None (fitted on 'ab')"),
        (ENCODER, {"model": "small"}, None),  # nothing else is known of it
        (ENCODER, {"model": "large"}, "model 'small' (fitted on 'large')"),
        (ENCODER, {}, None),
        (ENCODER, None, None),
    ],
)
def test_what_is_known_of_an_encoder_must_be_so(found, expected, difference):
    known = identity_of(expected)
    check_encoder(lambda texts: texts, known)
    if difference is None:
        return check_encoder(Described(**found), known)
    line = f"^b is another encoder than that of run: [^\n]*{re.escape(difference)}[^\n]*$"
    with pytest.raises(ValueError, match=line):
        check_encoder(Described(**found), known, name="b", of="run")


def test_differences_name_what_either_says():
    assert differences({"a": 1}, {"b": 2}) == "a 1 (fitted on None), b None (fitted on 2)"


def test_it_goes_from_a_cache_to_the_fit_and_into_what_is_saved(tmp_path):
    prefs = small_objects()["prefs"]
    with CacheWriter(tmp_path / "cache", dim=8, dtype="float32", encoder=ENCODER) as writer:
        writer.append(prefs.embeddings)
        columns = {name: getattr(prefs, name) for name in ("chosen", "rejected", "user", "prompt")}
        writer.finish(**columns)
    cached = load_cache(tmp_path / "cache")
    assert prefs.encoder is None
    assert cached.encoder == identity_of(ENCODER)
    model, users, _ = lore.fit(cached, lore.FitConfig(BradleyTerryConfig(ridge=3.0)), key=0)
    lore.save(tmp_path / "model", model, users)
    assert lore.load(tmp_path / "model")[0].encoder == model.encoder == cached.encoder
