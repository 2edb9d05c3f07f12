"""Plain words say the numbers that the tables say, of new persons first."""

import copy

import pytest
from synthetic_results import toy_results

from lore_jax.evaluation.conclusion import average, conclude
from lore_jax.evaluation.results import Where
from lore_jax.reporting.plain_words import (
    conditions_told,
    meaning,
    prediction,
    short_answer,
    shorten,
)

UNSEEN = Where("unseen", "new items", "m", control=None, shots=20)


@pytest.fixture(scope="module")
def results():
    return toy_results(0.1, 0)


def test_new_persons_come_first_on_the_harder_items(results):
    both = copy.deepcopy(results)
    for row in results["rows"]:
        both["rows"].append({**row, "users": "seen", "shots": row["shots"] or None})
        both["rows"].append({**row, "items": "known items"})
    for row in both["rows"]:
        if row["users"] == "seen":
            row["shots"] = None if row["control"] or row["shots"] else 0
    assert conditions_told(both, "m")[0] == UNSEEN
    assert conditions_told(results, "m") == [UNSEEN]
    assert conditions_told(results, "another") == []


def test_the_sentence_holds_the_averages(results):
    after = average(results, UNSEEN).interval()
    before = average(results, UNSEEN.also(Where(shots=0))).interval()
    expected = (
        f"With about 20 comparisons each, the model predicts {100 * after.mean:.0f} of 100 choices "
        f"of a new person, on new prompts (95 % interval {100 * after.low:.0f} to "
        f"{100 * after.high:.0f}); without knowing the person, {100 * before.mean:.0f} "
        f"({100 * before.low:.0f} to {100 * before.high:.0f})."
    )
    assert prediction(results, UNSEEN) == expected


def test_one_user_tells_no_interval():
    text = prediction(toy_results(0.1, 0, users=1, splits=1), UNSEEN)
    assert "interval" not in text
    assert "inf" not in text


@pytest.mark.parametrize(("gain", "helps"), [(0.1, True), (0.0, False)])
def test_the_meaning_follows_the_conclusion(gain, helps):
    conclusion = conclude(toy_results(gain, 1), UNSEEN)
    assert conclusion["helps"] is helps
    text = meaning(conclusion)
    assert ("Knowing the person is worth" in text) is helps
    assert ("would have shown" in text) is not helps
    assert "Of 120 tested, 6 are predicted better and 2 worse" in text
    assert conclusion["statement"].startswith(short_answer(conclusion))


def test_yes_with_an_open_size():
    conclusion = {**conclude(toy_results(0.1, 1), UNSEEN), "over_population": [0.02, -0.01, 0.05]}
    assert "by how much is open: 2.0 more right answers in 100 (-1.0 to 5)." in meaning(conclusion)


def test_texts_are_cut_behind_a_word():
    assert shorten("a b", 9) == "a b"
    assert shorten("one two  three", 9) == "one two\u2026"
    assert shorten("onetwothree", 4) == "onet\u2026"
