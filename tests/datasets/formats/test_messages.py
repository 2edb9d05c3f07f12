"""Prompt and replies of a row: refused in one line that names the column."""

import pytest

from lore_jax.datasets.formats.messages import (
    Message,
    kind_of,
    parse_comparison,
    parse_conversation,
    parse_messages,
)

USER = {"role": "user", "content": "Name a colour."}
SYSTEM = {"role": "system", "content": "Be brief."}


def reply(text):
    return {"role": "assistant", "content": text}


def row(**changes):
    return {
        "user_id": "ann",
        "prompt": "Name a colour.",
        "chosen": "Blue.",
        "rejected": "Red.",
        **changes,
    }


def without(name, **changes):
    return {key: value for key, value in row(**changes).items() if key != name}


BAD_COMPARISONS = {
    "number as reply": (
        row(chosen=5),
        "chosen is an integer.*: a text or a list of messages is expected",
    ),
    "null prompt": (row(prompt=None), "prompt is null"),
    "empty prompt": (row(prompt="  "), "prompt is empty"),
    "empty prompt list": (row(prompt=[]), "prompt is empty"),
    "equal replies": (row(rejected="Blue."), "chosen equals rejected \\('Blue.'\\)"),
    "empty reply": (row(rejected=" \n"), "rejected is an empty reply"),
    "list as text": (row(rejected="['Red.', 'Green.']"), "rejected is a list rendered as text"),
    "list as text with apostrophe": (
        row(rejected="[\"It's\", 'Green.']"),
        "rejected is a list rendered as text",
    ),
    "messages as text": (row(chosen=str([reply("Blue.")])), "chosen is a list rendered as text"),
    "one side a list": (
        row(rejected=[reply("Red.")]),
        "chosen and rejected are a text and a list of messages",
    ),
    "unknown role": (row(prompt=[{"role": "tool", "content": "x"}]), "message 0 has role 'tool'"),
    "no content": (
        row(prompt=[{"role": "user"}]),
        "message 0 is .*: an object with role and content is expected",
    ),
    "parts as content": (
        row(prompt=[{"role": "user", "content": [{"type": "text"}]}]),
        "content that is a list",
    ),
    "not alternating": (
        row(prompt=[USER, USER]),
        "prompt: message 1 is the turn of 'user': 'assistant' is expected",
    ),
    "system in the middle": (row(prompt=[USER, SYSTEM, USER]), "message 1 is the turn of 'system'"),
    "prompt ends with a reply": (
        row(prompt=[USER, reply("x")]),
        "prompt ends with the turn of 'assistant'",
    ),
    "conversation without reply": (
        row(chosen=[USER], rejected=[USER]),
        "chosen ends with the turn of 'user'",
    ),
    "other conversation": (
        row(prompt="Name a fruit.", chosen=[USER, reply("a")], rejected=[USER, reply("b")]),
        "chosen is a conversation that does not begin with the prompt",
    ),
    "conversations differ": (
        without(
            "prompt",
            chosen=[USER, reply("a")],
            rejected=[{"role": "user", "content": "?"}, reply("b")],
        ),
        "chosen and rejected differ before the last reply",
    ),
    "replies without prompt": (
        without("prompt", chosen=[reply("a")], rejected=[reply("b")]),
        "there is no prompt",
    ),
    "two systems": (
        row(prompt=[SYSTEM, USER], system="Be long."),
        "system is given in its own column",
    ),
    "system of another type": (row(system=3), "system is an integer"),
}


@pytest.mark.parametrize("name", BAD_COMPARISONS)
def test_bad_comparisons_are_refused(name):
    bad, message = BAD_COMPARISONS[name]
    with pytest.raises(ValueError, match=message) as caught:
        parse_comparison(bad)
    assert "\n" not in str(caught.value)


def test_lists_in_prose_are_replies():
    for chosen, rejected in (('["red", "blue"]', "['red' and 'blue'"), ("[1, 2]", "[see 'x']")):
        comparison = parse_comparison(row(chosen=chosen, rejected=rejected))
        assert (comparison.chosen, comparison.rejected) == (chosen, rejected)


def test_a_conversation_is_a_prompt_and_a_reply():
    prompt, text = parse_conversation("text 3", [SYSTEM, USER, reply("Blue.")])
    assert (prompt, text) == ((Message(**SYSTEM), Message(**USER)), "Blue.")
    with pytest.raises(ValueError, match=r"^text 3 is a text \('Blue.'\): a list of messages"):
        parse_conversation("text 3", "Blue.")
    with pytest.raises(ValueError, match=r"^text 3 has no turn before the reply"):
        parse_conversation("text 3", [reply("Blue.")])
    with pytest.raises(ValueError, match=r"^text 3 ends with the turn of 'user'"):
        parse_conversation("text 3", [USER])


def test_messages_are_read_in_order():
    assert parse_messages("prompt", []) == ()
    assert parse_messages("prompt", [USER, reply("x")]) == (Message(**USER), Message(**reply("x")))
    with pytest.raises(ValueError, match=r"^prompt is null \(None\): a text or a list of messages"):
        parse_messages("prompt", None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true or false"),
        (1, "an integer"),
        (1.5, "a number"),
        ("x", "a text"),
        ([1], "a list"),
        ({"a": 1}, "an object"),
        (b"x", "a bytes"),
    ],
)
def test_values_of_json_have_names(value, expected):
    assert kind_of(value) == expected
