"""`lore-jax prepare`: files of comparisons and Polis folders become caches."""

import json

import numpy as np
import pandas as pd
from command_line import PREPARE, ROWS, run

from lore_jax.storage.cache.answers import load_feedback
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts


def write_polis(folder, comments, votes):
    folder.mkdir()
    pd.DataFrame(comments, columns=["comment-id", "moderated", "comment-body"]).to_csv(
        folder / "comments.csv", index=False
    )
    frame = pd.DataFrame(votes, columns=["timestamp", "comment-id", "voter-id", "vote"])
    frame.to_csv(folder / "votes.csv", index=False)


def test_texts_with_an_array(here, capsys):
    assert "4 responses" in run(
        capsys, "prepare", "pairs.jsonl", "--list-responses", "responses.jsonl"
    )
    listed = [json.loads(line) for line in (here / "responses.jsonl").read_text().splitlines()]
    assert [response["reply"] for response in listed] == ["Blue.", "No.", "Yes.", "No."]
    out = run(
        capsys,
        *PREPARE,
        "--out",
        "cache",
        "--json",
    )
    result = json.loads(out)
    assert (result["responses"], result["pairs"], result["users"], result["duplicated_rows"]) == (
        4,
        4,
        2,
        1,
    )
    assert (result["dtype"], result["prompts"]) == ("float32", 2)
    prefs = load_cache("cache")
    np.testing.assert_array_equal(prefs.embeddings, np.eye(4))
    assert prefs.user_ids.tolist() == ["ann", "böb"]
    np.testing.assert_array_equal(prefs.chosen[np.argsort(prefs.row)], [0, 1, 2, 2])
    assert [reply for _, reply in read_texts("cache")] == ["Blue.", "No.", "Yes.", "No."]
    assert json.loads((here / "cache" / "extra.jsonl").read_text().splitlines()[0]) == {
        "mood": "good"
    }
    assert read_manifest("cache")["encoder"] == {"model": "eye"}
    assert "4 responses, dim 4, float32, by eye" in run(capsys, "inspect", "cache")


def test_numbers_with_an_array_in_parquet_and_a_head(here, capsys):
    pd.DataFrame({"user_id": [5, 7], "chosen": [0, 3], "rejected": [1, 0]}).to_parquet(
        "pairs.parquet"
    )
    np.save("head.npy", np.arange(4.0))
    options = [
        "--embeddings",
        "table.npy",
        "--encoder",
        "eye",
        "--head",
        "head.npy",
        "--dtype",
        "bfloat16",
    ]
    run(capsys, "prepare", "pairs.parquet", "--out", "cache", *options)
    prefs = load_cache("cache")
    assert (prefs.embeddings.dtype.name, prefs.user_ids.tolist()) == ("bfloat16", ["5", "7"])
    np.testing.assert_array_equal(prefs.head, [0, 1, 2, 3])


def test_an_earlier_cache_serves_new_comparisons(here, capsys):
    run(
        capsys,
        *PREPARE,
        "--out",
        "cache",
    )
    # by their texts, of which only those needed are taken
    (here / "new.jsonl").write_text(json.dumps({**ROWS[2], "user_id": "eve"}) + "\n")
    run(capsys, "prepare", "new.jsonl", "--cache", "cache", "--out", "new")
    np.testing.assert_array_equal(load_cache("new").embeddings, np.eye(4)[2:])
    assert read_manifest("new")["encoder"] == {"model": "eye"}
    # by the numbers of its rows
    (here / "rows.jsonl").write_text('{"user_id": "eve", "chosen": 3, "rejected": 0}\n')
    run(capsys, "prepare", "rows.jsonl", "--cache", "cache", "--out", "rows")
    assert load_cache("rows").num_responses == 4
    assert list(read_texts("rows")) == list(read_texts("cache"))


def test_names_can_be_hashed_from_the_start(here, capsys):
    (here / "key").write_bytes(b"secret")
    arguments = [
        *PREPARE,
        "--out",
        "cache",
    ]
    run(capsys, *arguments, "--hash-ids", "--hash-key", "key")
    assert all(len(name) == 64 for name in load_cache("cache").user_ids)
    for file in (here / "cache").iterdir():
        assert "böb" not in file.read_bytes().decode(errors="ignore")
        assert "mood" not in file.read_bytes().decode(errors="ignore")


def test_polis_conversations(here, capsys):
    comments = [[0, 1, "Trees."], [1, 0, "Cars."], [2, -1, "Spam."]]
    write_polis(here / "one", comments, [[1, 0, 7, 1], [2, 1, 7, -1], [3, 0, 8, 1]])
    write_polis(here / "two", comments[:2], [[1, 0, 7, -1], [2, 1, 7, -1], [3, 1, 7, 1]])
    np.save("statements.npy", np.eye(4, dtype=np.float16))
    options = ["--embeddings", "statements.npy", "--encoder", "eye", "--out", "cache"]
    out = run(capsys, "prepare", "one", "two", *options)
    assert "not choices between a model's replies" in out
    prefs = load_cache("cache")
    assert prefs.user_ids.tolist() == ["one/7", "one/8", "two/7"]
    np.testing.assert_array_equal(prefs.pairs_per_user(), [1, 0, 1])
    np.testing.assert_array_equal(prefs.chosen, [0, 1])
    np.testing.assert_array_equal(prefs.rejected, [1, 0])
    np.testing.assert_array_equal(prefs.prompt, [0, 1])
    assert "not choices between a model's replies" in run(capsys, "inspect", "cache")
    assert list(read_texts("cache")) == [([], "Trees."), ([], "Cars.")]


def test_ratings_become_pairs_and_bad_rows_can_be_skipped(here, capsys):
    rows = ["user_id,response,rating", "ann,Blue.,5", "ann,Red.,2", "bob,Red.,often", "bob,Blue."]
    (here / "ratings.csv").write_text("\n".join(rows) + "\n")
    options = ["ratings.csv", "--embeddings", "table.npy", "--encoder", "eye", "--out", "cache"]
    error = run(capsys, "prepare", *options, status=2)
    assert "ratings.csv line 4: rating is 'often': a number, true or false, up or down" in error
    listed = run(
        capsys, "prepare", "ratings.csv", "--list-responses", "responses.jsonl", "--skip-bad"
    )
    assert "2 responses, 2 bad rows skipped; embed them" in listed
    np.save("table.npy", np.eye(2))
    out = run(capsys, "prepare", *options, "--skip-bad")
    for line in (
        "  2 responses, dim 2, float32, by eye",
        "  1 pairs by 1 users on 1 prompts",
        "  2 bad rows, skipped",
        f"    {error.removeprefix('lore-jax: ').strip()}",
        "    ratings.csv line 5: 2 fields, the header has 3",
        "  2 ratings 2 to 5 of 1 users on 2 responses became 1 pairs.",
    ):
        assert line in out.splitlines()
    assert list(read_texts("cache")) == [([], "Blue."), ([], "Red.")]
    np.testing.assert_array_equal(
        [load_cache("cache").chosen, load_cache("cache").rejected], [[0], [1]]
    )
    assert "2 ratings 2 to 5" in run(capsys, "inspect", "cache")


def test_answers_are_kept_as_said_beside_the_pairs_they_make(here, capsys):
    rows = [
        {"user_id": "ann", "responses": [0, 1, 2], "rank": [2, 1, 3]},
        {"user_id": "bob", "chosen": 3, "rejected": 0, "strength": 2},
        {"user_id": "bob", "chosen": 1, "rejected": 0, "strength": 0},
    ]
    (here / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--embeddings", "table.npy", "--encoder", "eye", "--out", "cache"]
    out = run(capsys, "prepare", "answers.jsonl", *options)
    understood = "1 rankings of 3, 2 strengths 1-5 of 2 users on 4 responses became 4 pairs."
    assert understood in out
    feedback = load_feedback("cache")
    assert [str(block.kind) for block in feedback.blocks] == ["rankings of 3", "strengths 1-5"]
    assert load_cache("cache").num_pairs == 4
    assert understood in run(capsys, "inspect", "cache")


def test_a_rating_outside_the_scale_is_refused(here, capsys):
    (here / "ratings.csv").write_text("user_id,response,rating\nann,0,5\nann,1,9\n")
    options = ["--embeddings", "table.npy", "--encoder", "eye", "--out", "cache"]
    error = run(capsys, "prepare", "ratings.csv", *options, "--scale", "1", "5", status=2)
    assert "ratings.csv line 3: rating is 9: a whole number from 1 to 5 is expected" in error
    assert not (here / "cache").exists()
