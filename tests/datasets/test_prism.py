"""PRISM: dialogues of the documented schema become pairs; others are refused."""

import pytest

from experiments.common.smoke_data import write_jsonl
from lore_jax.datasets.prism import read_prism


def write(path, rows):
    write_jsonl(path, rows)
    return path


def turn(number, user, *replies, best=0):
    yield {"turn": number, "role": "user", "content": user}
    for place, text in enumerate(replies):
        yield {
            "turn": number,
            "role": "model",
            "content": text,
            "score": 90 - place if place != 2 else 90,
            "if_chosen": place == best,
            "within_turn_id": place,
            "model_name": "m",
            "model_provider": "p",
        }


def dialogue(name="c1", user="u1", history=()):
    return {
        "conversation_id": name,
        "user_id": user,
        "opening_prompt": "Hi",
        "conversation_history": list(history),
    }


def test_prism_goes_on_from_the_chosen_reply(texts_of, tmp_path):
    history = [
        *turn(0, "Hi", "a", "b", "c", "a"),
        *turn(1, "More?", "d", "e", best=1),
        *turn(2, "And?", "f"),
    ]
    write(
        tmp_path / "conversations.jsonl",
        [dialogue(history=reversed(history)), dialogue(history=reversed(history))],
    )
    survey = {
        "user_id": "u1",
        "age": "25-34",
        "gender": "Female",
        "location": {"reside_region": "Asia"},
        "education": None,
    }
    write(tmp_path / "survey.jsonl", [survey, {"user_id": "u2"}])
    published = read_prism(tmp_path)
    # Histories are read by turn, whatever their order; within a turn the replies come as the file
    # has them.
    assert sorted(texts_of(published, pair) for pair in range(3)) == [
        (["Hi"], "a", "b"),
        (["Hi"], "a", "c"),
        (["Hi", "a", "More?"], "e", "d"),
    ]
    assert sorted(published.column("turn").tolist()) == [0, 0, 1]
    assert sorted(
        zip(published.column("chosen_score"), published.column("rejected_score"), strict=True)
    ) == [
        (89, 90),
        (90, 89),
        (90, 90),
    ]
    assert published.counts == {
        "dialogues": 1,
        "dialogues dropped: duplicated": 1,
        "pairs dropped: equal replies": 1,
        "pairs of equal scores, kept": 1,
        "turns without a rejected reply": 1,
    }
    assert published.users == {
        "u1": {
            "age": "25-34",
            "gender": "Female",
            "education": None,
            "english_proficiency": None,
            "region": "Asia",
        }
    }


def test_prism_scores_are_kept_as_ratings_and_a_turn_without_them_as_a_choice(tmp_path):
    history = [*turn(0, "Hi", "a", "b", "c", "a"), *turn(1, "More?", "d", "e", "f", best=1)]
    del history[-1]["score"]
    other = [*turn(0, "Hi", "a", "b"), *turn(1, "And?", "g", "g")]
    rows = [dialogue(history=history), dialogue("c2", "u2", history=other)]
    pairs = read_prism(write(tmp_path / "conversations.jsonl", rows)).pairs
    assert pairs.note == (
        "1 choices of 3, 5 votes 1-2 of 2 users on 6 responses "
        "(scores 89 to 90 in 2 levels) became 5 pairs."
    )
    said = {str(block.kind): block for block in pairs.answers}
    replies = [response.reply for response in pairs.responses]
    assert [replies[row] for row in said["choices of 3"].items[0]] == ["e", "d", "f"]
    stars = said["votes 1-2"]
    rated = [replies[row] for row in stars.items[:, 0]]
    # Of equal replies the first score counts; a turn whose replies are all equal compares nothing.
    assert sorted(zip(stars.user.tolist(), rated, stars.outcome.tolist(), strict=True)) == [
        (0, "a", 1),
        (0, "b", 0),
        (0, "c", 1),
        (1, "a", 1),
        (1, "b", 0),
    ]
    by_group = {str(block.kind): set(block.prompt.tolist()) for block in pairs.answers}
    assert by_group == {"choices of 3": {0}, "votes 1-2": {0, 1}}  # as pairs: by dialogue


def test_prism_stops_where_the_chosen_reply_is_unknown(tmp_path):
    rows = [
        dialogue("c1", history=[*turn(0, "Hi", "a", "b", best=None), *turn(1, "More?", "d", "e")]),
        dialogue("c2", history=[*turn(0, "Hi", "a", "b"), *turn(1, "", "d", "e")]),
        dialogue("c3", history=[*turn(0, "Hey", " ", "b")]),
    ]
    published = read_prism(write(tmp_path / "conversations.jsonl", rows))
    assert len(published.pairs.user) == 1
    assert published.counts["dialogues cut: a turn without one prompt and one chosen reply"] == 3


BAD_PRISM = {
    "another schema": (
        {"user_id": "u", "messages": []},
        "'conversation_id', 'conversation_history' missing",
    ),
    "a text": (
        dialogue() | {"conversation_history": "Hi"},
        "conversation_history is a text: a list of turns",
    ),
    "an unknown role": (
        dialogue(history=[{"turn": 0, "role": "bot", "content": "x"}]),
        "number 0 and role 'bot'",
    ),
    "two prompts": (
        dialogue(history=[*turn(0, "Hi"), *turn(0, "Hi again", "a")]),
        "turn 0: 2 messages of the user",
    ),
    "no flag": (
        dialogue(history=[*turn(0, "Hi"), {"turn": 0, "role": "model", "content": "a"}]),
        "a model's reply: 'if_chosen' missing",
    ),
    "a score": (
        dialogue(
            history=[
                *turn(0, "Hi"),
                {"turn": 0, "role": "model", "content": "a", "if_chosen": True, "score": 300},
            ]
        ),
        "score is 300",
    ),
    "a list as text": (
        dialogue(history=turn(0, "Hi", "a", "['x', 'y']")),
        "rejected is a list rendered as text",
    ),
    "one id, two dialogues": (
        dialogue("c0", history=turn(0, "Other", "a", "b")),
        "'c0' is given twice, with different",
    ),
}


@pytest.mark.parametrize("name", BAD_PRISM)
def test_bad_dialogues_are_refused_with_their_place(tmp_path, name):
    row, message = BAD_PRISM[name]
    file = write(
        tmp_path / "conversations.jsonl", [dialogue("c0", history=turn(0, "Hi", "a", "b")), row]
    )
    with pytest.raises(ValueError, match=message) as error:
        read_prism(file)
    assert str(error.value).startswith(f"{file} line 2")
