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


def test_choices_and_scores_are_kept_as_they_were_said():
    pairs = PairCollector()
    for user, chosen, others in (
        ("ann", "Blue.", ["Red.", " Green.", ""]),
        ("bob", "Red.", ["Blue."]),
    ):
        for other in others:
            pairs.add("line", user, "one", PROMPT, chosen, other)
        pairs.chose(user, "one", PROMPT, chosen, others)
    pairs.rated("ann", "one", PROMPT, [("Blue.", 90), ("Red.", 10), ("Blue. ", 3), (" ", 5)])
    pairs.rated("bob", "one", PROMPT, [("Blue.", 40), ("Blue.", 40)])  # one reply: no comparison
    found = pairs.finish("colours").pairs
    assert found.note == (
        "1 choices of 3, 1 rankings of 2, 2 votes 1-2 of 2 users on 3 responses "
        "(scores 10 to 90 in 2 levels) became 3 pairs."
    )
    said = {str(block.kind): block for block in found.answers}
    replies = [response.reply for response in found.responses]
    assert [replies[row] for row in said["choices of 3"].items[0]] == ["Blue.", "Red.", "Green."]
    assert said["rankings of 2"].user.tolist() == [1]
    stars = said["votes 1-2"]
    assert [replies[row] for row in stars.items[:, 0]] == ["Blue.", "Red."]
    assert stars.outcome.tolist() == [1, 0]
    assert set(found.cache_columns()["answers"]) >= {"ranking-3-0-1.items", "rating-1-2-0.outcome"}


def test_pairs_alone_leave_nothing_beside_them():
    pairs = PairCollector()
    pairs.add("line 1", "ann", "one", PROMPT, "Blue.", "Red.")
    found = pairs.finish("colours").pairs
    assert (found.answers, found.note) == (None, None)
