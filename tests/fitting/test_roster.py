"""The roster: every method is configured for both tests, names are checked."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from small_objects import small_objects

from lore_jax.evaluation.results import plain
from lore_jax.fitting.roster import ROSTER, entries


@pytest.mark.parametrize("name", ROSTER)
def test_every_method_is_configured_alike(name):
    prefs, entry = small_objects()["split"].train, ROSTER[name]
    for smoke in (False, True):
        config = entry.config(prefs, holdout="known items", group_by="response", smoke=smoke)
        assert (config.holdout, config.group_by) == ("known items", "response")
        assert (config.folds, config.repeats) == (4, None)  # the same for all
    assert entry.about
    if entry.known_items_only:
        with pytest.raises(ValueError, match=r"it needs .*, and the test is of new items"):
            entry.config(prefs, holdout="new items")
    else:
        assert entry.config(prefs, holdout="new items").holdout == "new items"
    # With --smoke nothing is chosen.
    stages = config.method.stages(prefs)
    assert all(len(stage.candidates) * len(stage.method.variants()) == 1 for stage in stages)


def test_settings_are_the_methods_own():
    for smoke in (False, True):
        found = [entry.settings(smoke=smoke) for entry in ROSTER.values()]
        assert json.loads(json.dumps(plain(found))) == plain(found)
        assert all(one != other for one, other in itertools.combinations(found, 2))
    lore = ROSTER["lore"]
    assert lore.settings()["class"] == "SimplexConfig"
    assert lore.settings()["fields"]["scale"] == 30.0
    assert lore.settings() != lore.settings(smoke=True)


def test_names_are_checked():
    assert list(entries(["gaussian", "lore"])) == ["lore", "gaussian"]
    with pytest.raises(ValueError, match="no method is given: some of reference-head, "):
        entries([])
    with pytest.raises(ValueError, match="there is no method 'gausian': is gaussian meant"):
        entries(["lore", "gausian"])
    with pytest.raises(ValueError, match="there is no method '%': one of reference-head, "):
        entries(["%"])


def test_lore_scales_short_rows_and_leaves_long_ones():
    prefs = small_objects()["split"].train
    lengths = np.linalg.norm(prefs.embeddings, axis=1)
    unit = dataclasses.replace(prefs, embeddings=prefs.embeddings / lengths[:, None])
    long = dataclasses.replace(prefs, embeddings=unit.embeddings * np.float32(120.0))
    for name in ("lore", "lore-later"):
        make = ROSTER[name].make
        assert make(unit).scale == 30.0  # exactly: programs are compiled for it
        assert make(long).scale == 1.0
    later = ROSTER["lore-later"].make
    assert later(prefs).anchor > 0
    assert later(dataclasses.replace(prefs, head=None)).anchor == 0.0
