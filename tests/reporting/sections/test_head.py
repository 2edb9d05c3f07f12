"""The head: plain words first, whatever is known."""

from lore_jax.evaluation.conclusion import conclusions_of
from lore_jax.reporting.plain_words import conditions_told, meaning, prediction
from lore_jax.reporting.sections.head import head


def test_plain_words_then_the_conclusion_then_numbers(results):
    told = conditions_told(results, "personal")
    text = "".join(head(results, "personal", told, title="A & B", note="A note."))
    (conclusion,) = conclusions_of(results, "personal").values()
    parts = ["A &amp; B", prediction(results, told[0]), meaning(conclusion)]
    parts += [conclusion["statement"], "A note.", "the tenth predicted worst"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_without_controls_and_without_shots(results):
    rows = [row for row in results["rows"] if row["control"] is None]
    bare = {**results, "rows": rows}
    told = conditions_told(bare, "personal")
    text = "".join(head(bare, "personal", told, title="t", note=""))
    assert prediction(bare, told[0]) in text
    assert "cards" not in text
    assert "".join(head(bare, "personal", [], title="t", note="")) == "<header><h1>t</h1></header>"
