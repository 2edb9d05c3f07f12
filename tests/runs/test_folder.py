"""The folder of a run: its split as it was cut, and no other format, cache or folder."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from small_run import write_small_cache

import lore_jax as lore
from lore_jax.data.four_way import four_way
from lore_jax.data.preferences import Preferences
from lore_jax.runs import folder
from lore_jax.runs.folder import begin_run, read_run, refuse_folder
from lore_jax.storage.cache.reader import load_cache

FIELDS = [
    field.name
    for field in dataclasses.fields(Preferences)
    if field.name not in ("embeddings", "head")
]


def about(path):
    """What the `run.json` of a run says of its fit."""
    names = ("config", "choice", "steps", "validation", "devices")
    return {name: read_run(path).manifest[name] for name in names}


def assert_same(part, expected):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))


def test_the_split_is_kept_as_it_was(cache, unbroken):
    prefs = load_cache(cache)
    split = four_way(prefs, group_by="prompt", items=("new items",), seed=0)
    run = read_run(unbroken)
    assert run.manifest["split"]["digest"] == split.digest
    parts = run.load_parts()
    assert set(parts.tests) == {("seen", "new items"), ("unseen", "new items")}
    assert_same(parts.train, split.train)
    assert_same(parts.shots, split.shots)
    for condition in split.tests:
        assert_same(parts.tests[condition], split.tests[condition])
    assert not set(parts.train.prompt) & set(parts.tests["seen", "new items"].prompt)


def test_without_a_split_everything_was_fitted(cache, unbroken, tmp_path):
    run = begin_run(tmp_path / "run", cache, None, about(unbroken))
    parts = run.load_parts()
    assert (parts.shots, parts.tests) == (None, {})
    assert_same(parts.train, load_cache(cache))
    assert run.manifest["steps"] == 25
    assert not run.is_finished


def test_beginning_again_removes_what_stood_there(cache, copy):
    run = begin_run(copy, cache, None, about(copy))
    assert [path.name for path in copy.iterdir()] == ["run.json"]
    assert run.manifest == read_run(copy).manifest
    assert run.manifest["data"]["dim"] == 12
    assert run.manifest["data"]["encoder"] == {"model": "synthetic"}


def test_the_split_on_the_disk_is_checked(copy):
    data = bytearray((copy / "split.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "split.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"split.safetensors is corrupt"):
        read_run(copy).load_parts()


def test_a_moved_cache_is_found_where_one_says(cache, unbroken, tmp_path):
    moved = shutil.copytree(cache, tmp_path / "moved")
    assert read_run(unbroken).load_parts(moved).train.num_pairs > 0
    other = write_small_cache(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="other is another cache than the one of"):
        read_run(unbroken).load_parts(other)


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        (3, "run.json has format version 2, this lore_jax reads 3: fit it again"),
        (1, "run.json has format version 2, this lore_jax reads 1: update lore_jax"),
    ],
    ids=["older", "newer"],
)
def test_another_format_is_refused_in_one_line(unbroken, monkeypatch, reads, message):
    assert json.loads((unbroken / "run.json").read_bytes())["format_version"] == 2
    monkeypatch.setattr(folder, "FORMAT_VERSION", reads)
    with pytest.raises(ValueError, match=message) as refusal:
        read_run(unbroken)
    assert "\n" not in str(refusal.value)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a run: it has no run\.json"):
        read_run(tmp_path)


def test_where_a_run_may_begin(copy, tmp_path):
    refuse_folder(tmp_path / "new", resume=False, overwrite=False)
    refuse_folder(copy, resume=True, overwrite=False)
    refuse_folder(copy, resume=False, overwrite=True)
    with pytest.raises(ValueError, match="resume and overwrite are both asked for"):
        refuse_folder(copy, resume=True, overwrite=True)
    with pytest.raises(FileExistsError, match="holds a run already"):
        refuse_folder(copy, resume=False, overwrite=False)
    (copy / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"holds 'thesis.tex', which is no part of a run"):
        refuse_folder(copy, resume=False, overwrite=True)
    with pytest.raises(FileExistsError, match=r"thesis.tex is a file: a folder is expected"):
        refuse_folder(copy / "thesis.tex", resume=False, overwrite=True)


def test_a_run_is_loaded_like_its_model(unbroken):
    (_, users), (_, same) = lore.load(unbroken), lore.load(unbroken / "model")
    np.testing.assert_array_equal(users.weights, same.weights)
