"""Published data sets: files of the documented schemas become the pairs they say; what is wrong is
said, and where.
"""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.common import smoke_data
from lore_jax.datasets.community_alignment import read_community_alignment
from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.records import data_files, read_records
from lore_jax.datasets.formats.rows import Response
from lore_jax.datasets.leaks import keep_apart, number_texts
from lore_jax.datasets.prism import read_prism
from lore_jax.datasets.reddit_tldr import read_reddit_tldr
from lore_jax.datasets.reward_bench import read_reward_bench


def write(path, rows):
    smoke_data.write_jsonl(path, rows)
    return path


def texts_of(published, pair):
    responses = published.pairs.responses
    chosen, rejected = (
        responses[getattr(published.pairs, side)[pair]] for side in ("chosen", "rejected")
    )
    assert chosen.prompt is rejected.prompt
    return [turn["content"] for turn in chosen.prompt], chosen.reply, rejected.reply


# Reddit TLDR


def comparison(**changes):
    return {
        "info": {
            "id": "t3",
            "post": "A post.",
            "title": "T",
            "subreddit": "s",
            "site": None,
            "article": None,
        },
        "summaries": [
            {"text": " One.", "policy": "p", "note": ""},
            {"text": " Two.", "policy": "p", "note": ""},
        ],
        "choice": 1,
        "worker": "ann",
        "batch": "b",
        "split": "train",
        "extra": {"confidence": 7},
    } | changes


def test_tldr_pairs_are_the_workers_choices(tmp_path):
    rows = [
        comparison(),
        comparison(choice=0, split="valid2", worker="bob", extra={"confidence": None}),
        comparison(choice=0, extra=None),
        comparison(info={"id": "cnn", "post": None, "article": "News."}),
        comparison(summaries=[{"text": " Same."}, {"text": "Same. "}]),
        comparison(),
    ]
    found = read_reddit_tldr(write(tmp_path / "comparisons" / "batch3.json", rows).parent)
    assert [texts_of(found, pair) for pair in range(3)] == [
        (["A post."], "Two.", "One."),
        (["A post."], "One.", "Two."),
        (["A post."], "One.", "Two."),
    ]
    assert found.column("split").tolist() == ["train", "validation", "train", "train"]
    assert found.column("confidence").tolist() == [7, None, None, 7]
    assert found.pairs.user_ids == ["ann", "bob"]
    assert len(found.pairs.responses) == 2  # equal texts share one row
    assert found.counts == {
        "rows": 6,
        "rows dropped: no post": 1,
        "pairs dropped: equal replies": 1,
        "duplicated pairs, kept": 1,
    }


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
def test_tldr_reads_every_published_form(tmp_path, kind):
    rows = [comparison(), comparison(choice=0, split="valid1")]
    table = pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "train.parquet")
    elif kind == "arrow":
        with pa.ipc.new_stream(tmp_path / "data-00000-of-00001.arrow", table.schema) as stream:
            stream.write_table(table)
        (tmp_path / "dataset_info.json").write_text("{}")
    else:
        write(tmp_path / "rows.jsonl", rows)
    found = read_reddit_tldr(tmp_path)
    assert [texts_of(found, pair)[1] for pair in (0, 1)] == ["Two.", "One."]


BAD_TLDR = {
    "another schema": (
        {"prompt": "A?", "chosen": "B", "rejected": "C"},
        "'info', 'summaries', 'choice', 'worker', 'split' missing",
    ),
    "says what is there": ({"prompt": "A?", "worker": "x"}, "found 'prompt', 'worker'"),
    "three summaries": (
        comparison(summaries=[{"text": "a"}] * 3),
        "summaries is a list of 3: two objects",
    ),
    "a tie": (comparison(choice=2), "choice is 2: 0 or 1 is expected"),
    "no choice": (comparison(choice=None), "choice is None: 0 or 1"),
    "no worker": (comparison(worker=None), "worker is null: a text is expected"),
    "unknown split": (comparison(split="dev"), "split is 'dev': 'train', 'valid1' or 'valid2'"),
    "info as text": (comparison(info="post"), "info is a text and summaries is a list"),
}


@pytest.mark.parametrize("name", BAD_TLDR)
def test_bad_comparisons_are_refused_with_their_place(tmp_path, name):
    row, message = BAD_TLDR[name]
    file = write(tmp_path / "batch.json", [comparison(), row])
    with pytest.raises(ValueError, match=message) as error:
        read_reddit_tldr(file)
    assert str(error.value).startswith(f"{file} line 2")
    assert "\n" not in str(error.value)


def test_nothing_left_says_what_was_dropped(tmp_path):
    file = write(tmp_path / "batch.json", [comparison(info={"post": None})] * 3)
    with pytest.raises(ValueError, match="holds no pair: 3 rows, 3 rows dropped: no post"):
        read_reddit_tldr(file)


# Files that are not what their names say


def test_an_error_page_is_told_apart_from_data(tmp_path):
    for name in ("batch.json", "data.csv", "rows.parquet"):
        (tmp_path / name).write_text("<!DOCTYPE html><html>429</html>")
        with pytest.raises(
            ValueError, match="is HTML or XML, not JSONL: was an error page downloaded"
        ):
            list(read_records(tmp_path / name))


def test_truncated_downloads_are_noticed(tmp_path):
    rows = [comparison(), comparison()]
    whole = write(tmp_path / "rows.jsonl", rows).read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(whole[:-40])
    with pytest.raises(ValueError, match=r"cut\.jsonl line 2: not a whole JSON object"):
        list(read_records(tmp_path / "cut.jsonl"))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cut\.parquet is not a whole Parquet file"):
        list(read_records(tmp_path / "cut.parquet"))
    with pa.ipc.new_stream(tmp_path / "rows.arrow", table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "cut.arrow").write_bytes((tmp_path / "rows.arrow").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"cut\.arrow is not a whole Arrow file"):
        list(read_records(tmp_path / "cut.arrow"))
    (tmp_path / "cut.csv").write_text('a,b\n1,2\n3,"4')
    with pytest.raises(ValueError, match=r"cut\.csv line 3: unexpected end of data"):
        list(read_records(tmp_path / "cut.csv"))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"empty\.jsonl is empty"):
        list(read_records(tmp_path / "empty.jsonl"))


def test_a_data_set_that_is_there_in_two_formats_is_read_once(tmp_path):
    write(tmp_path / "data" / "train.jsonl", [comparison()])
    for part in (0, 1):
        (tmp_path / "data" / f"train-{part}.parquet").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.parquet").touch()
    assert [path.name for path in data_files(tmp_path, "train")] == [
        "train-0.parquet",
        "train-1.parquet",
    ]
    with pytest.raises(
        FileNotFoundError, match=r"holds no .* file with 'test' in its path; found data/train"
    ):
        data_files(tmp_path, "test")


def test_the_hub_is_asked_only_by_name(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **kw: asked.append((name, kw)) or str(tmp_path),
    )
    home = Home("owner/name", ("*.jsonl",), "branch")
    assert locate(tmp_path, home) == tmp_path
    with pytest.raises(
        FileNotFoundError, match=r"owner/nam does not exist: a folder is expected, or 'owner/name'"
    ):
        locate("owner/nam", home)
    assert not asked
    assert locate("owner/name", home) == tmp_path
    assert asked == [
        (
            "owner/name",
            {"repo_type": "dataset", "revision": "branch", "allow_patterns": ["*.jsonl"]},
        )
    ]

    def offline(*_, **__):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(OSError, match=r"owner/name could not be fetched: no route$"):
        locate("owner/name", home)


# PRISM


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


def test_prism_goes_on_from_the_chosen_reply(tmp_path):
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
    found = read_prism(tmp_path)
    # Histories are read by turn, whatever their order; within a turn the replies come as the file
    # has them.
    assert sorted(texts_of(found, pair) for pair in range(3)) == [
        (["Hi"], "a", "b"),
        (["Hi"], "a", "c"),
        (["Hi", "a", "More?"], "e", "d"),
    ]
    assert sorted(found.column("turn").tolist()) == [0, 0, 1]
    assert sorted(
        zip(found.column("chosen_score"), found.column("rejected_score"), strict=True)
    ) == [
        (89, 90),
        (90, 89),
        (90, 90),
    ]
    assert found.counts == {
        "dialogues": 1,
        "dialogues dropped: duplicated": 1,
        "pairs dropped: equal replies": 1,
        "pairs of equal scores, kept": 1,
        "turns without a rejected reply": 1,
    }
    assert found.users == {
        "u1": {
            "age": "25-34",
            "gender": "Female",
            "education": None,
            "english_proficiency": None,
            "region": "Asia",
        }
    }


def test_prism_stops_where_nobody_knows_what_was_chosen(tmp_path):
    rows = [
        dialogue("c1", history=[*turn(0, "Hi", "a", "b", best=None), *turn(1, "More?", "d", "e")]),
        dialogue("c2", history=[*turn(0, "Hi", "a", "b"), *turn(1, "", "d", "e")]),
        dialogue("c3", history=[*turn(0, "Hey", " ", "b")]),
    ]
    found = read_prism(write(tmp_path / "conversations.jsonl", rows))
    assert len(found.pairs.user) == 1
    assert found.counts["dialogues cut: a turn without one prompt and one chosen reply"] == 3


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


# Community Alignment


def test_community_alignment_reads_every_turn(tmp_path):
    smoke_data.write_community_alignment(tmp_path, annotators=4, conversations=2)
    found = read_community_alignment(tmp_path)
    assert found.counts == {"conversations": 8}
    assert len(found.pairs.user) == 4 * (
        3 + 6
    )  # three pairs a turn; every second conversation has two turns
    assert set(found.column("turn")) == {0, 1}
    prompt, chosen, rejected = texts_of(found, 3)
    assert prompt == ["Shared prompt 1"]
    assert "<|end_of_text|>" not in chosen + rejected
    opening = found.pairs.prompt.reshape(4, 9)
    np.testing.assert_array_equal(
        opening, opening[:1].repeat(4, 0)
    )  # shared by the annotators: what splits must not cut
    assert found.users["annotator1"]["annotator_country"] == "us"
    assert read_community_alignment(tmp_path, language="fr").counts == {
        "conversations in other languages": 4,
        "conversations": 4,
    }


def test_community_alignment_prefers_the_filtered_file_and_counts_what_is_missing(tmp_path):
    smoke_data.write_community_alignment(tmp_path, annotators=2, conversations=1)
    file = tmp_path / "community_alignment.csv"
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[1] |= {"first_turn_response_b": "", "first_turn_preferred_response": "response_b"}
    for name, part in (
        ("filtered_community_alignment.csv", [*rows, rows[0]]),
        ("full_community_alignment.csv", rows * 3),
    ):
        with open(tmp_path / name, "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    assert read_community_alignment(tmp_path).counts == {
        "conversations": 2,
        "conversations dropped: duplicated": 1,
        "conversations cut: a turn without a prompt or a preferred reply": 1,
    }
    rows[0]["first_turn_preferred_response"] = "response_e"
    write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(
        ValueError, match="first_turn_preferred_response is 'response_e': response_a to response_d"
    ):
        read_community_alignment(tmp_path / "rows.jsonl")


# RewardBench 2


def test_a_prompt_is_won_if_every_correct_reply_is_above_every_incorrect_one(tmp_path):
    rows = [
        {"prompt": "A?", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math"},
        {"prompt": "B?", "chosen": ["a", "b"], "rejected": ["c"], "subset": "Ties"},
    ]
    bench = read_reward_bench(write(tmp_path / "test.jsonl", rows))
    assert [response.reply for response in bench.pairs.responses] == [
        "a",
        "b",
        "c",
        "d",
        "a",
        "b",
        "c",
    ]
    scores = np.array(
        [[3, 1, 1, 2, 3, 2, 1], [3, 1, 1, 3, 3, 1, 1], [-3, 1, 1, 2, 1, 2, 0]], float
    ).T
    np.testing.assert_array_equal(bench.won(scores), [[True, False, False], [True, False, True]])
    assert bench.subset.tolist() == ["Math", "Ties"]
    for changes, message in (
        ({"chosen": "a"}, "chosen is 'a': a list of replies"),
        ({"rejected": []}, r"rejected is \[\]: a list of replies"),
        ({"rejected": ["a"]}, "'a' is both chosen and rejected"),
    ):
        with pytest.raises(ValueError, match=message):
            read_reward_bench(write(tmp_path / "bad.jsonl", [rows[0] | changes]))


# Leaks


def test_training_pairs_with_a_text_of_the_test_are_found():
    def say(*texts):
        return Response([{"role": "user", "content": text} for text in texts[:-1]], texts[-1])

    responses = [
        say("p", "a"),
        say("p", "b"),
        say("q", "c"),
        say("q", "d"),
        say("r", " a "),
        say("r", "e"),
        say("s", "q", "f"),
        say("s", "q", "g"),
    ]
    chosen, rejected = np.array([[0, 1], [2, 3], [4, 5], [6, 7]]).T
    texts = number_texts(responses)
    assert texts.num_texts == len({"p", "a", "b", "q", "c", "d", "r", "e", "s", "f", "g"})
    train = np.array([True, False, True, True])
    # The test pair's prompt is a turn of the last pair's; "a" stands on one side of both others,
    # under another prompt.
    np.testing.assert_array_equal(
        keep_apart(texts, chosen, rejected, train, ~train), [True, False, True, False]
    )
    np.testing.assert_array_equal(
        keep_apart(texts, chosen, rejected, train, np.array([True, False, False, False])),
        [False, False, False, True],
    )


def test_rows_keep_their_json(tmp_path):
    assert list(read_records(write(tmp_path / "x.jsonl", [{"a": 1}, {"a": None}]))) == [
        (f"{tmp_path / 'x.jsonl'} line 1", {"a": 1}),
        (f"{tmp_path / 'x.jsonl'} line 2", {"a": None}),
    ]
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0]) == {"a": 1}
