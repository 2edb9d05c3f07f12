"""Comparisons collected one by one: numbered, counted, refused with their location."""

import numpy as np
import pytest

from lore_jax.datasets.formats.collect import PairCollector
from lore_jax.datasets.formats.messages import Message

PROMPT = (Message("user", "Name a colour."),)


def test_users_groups_and_responses_are_numbered():
    pairs = PairCollector()
    pairs.add("line 1", "ann", "one", PROMPT, "Blue.", "Red.", confidence=3)
    pairs.add("line 2", "bob", "two", PROMPT, " Red. ", "Blue.", confidence=None)
    pairs.add("line 3", "ann", "one", PROMPT, "Blue.", "Red.", confidence=5)
    pairs.add("line 4", "ann", "one", PROMPT, "Blue.", " ")
    pairs.add("line 5", "ann", "one", PROMPT, "Blue.", "Blue. ")
    published = pairs.finish("colours", {"bob": {"age": 30}, "carl": {"age": 40}})
    assert [response.reply for response in published.pairs.responses] == ["Blue.", "Red."]
    np.testing.assert_array_equal(published.pairs.chosen, [0, 1, 0])
    np.testing.assert_array_equal(published.pairs.rejected, [1, 0, 1])
    np.testing.assert_array_equal(published.pairs.user, [0, 1, 0])
    np.testing.assert_array_equal(published.pairs.prompt, [0, 1, 0])
    np.testing.assert_array_equal(published.pairs.pair_weight, [1, 1, 1])
    assert published.pairs.user_ids == ["ann", "bob"]
    assert published.column("confidence").tolist() == [3, None, 5]
    assert published.users == {"bob": {"age": 30}}
    assert published.counts == {
        "pairs dropped: an empty reply": 1,
        "pairs dropped: equal replies": 1,
        "duplicated pairs, kept": 1,
    }


def test_bad_comparisons_are_refused():
    pairs = PairCollector()
    with pytest.raises(ValueError, match=r"^line 1: prompt ends with nothing: 'user' is expected"):
        pairs.add("line 1", "ann", "one", (), "Blue.", "Red.")
    with pytest.raises(ValueError, match=r"^line 2: chosen is a list rendered as text"):
        pairs.add("line 2", "ann", "one", PROMPT, "['Blue.', 'Red.']", "Red.")
    with pytest.raises(ValueError, match=r"^colours holds no pair: no rows$"):
        pairs.finish("colours")
