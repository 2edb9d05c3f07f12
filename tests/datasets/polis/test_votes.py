"""The Polis reader, on a small conversation and, where they are present, on published ones."""

import csv

import numpy as np
import pytest

from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.storage.safetensors import write_tensors

CONVERSATIONS = (
    "american-assembly.bowling-green",
    "canadian-electoral-reform",
    "scoop-hivemind.affordable-housing",
    "scoop-hivemind.freshwater",
    "ssis.land-bank-farmland.2rumnecbeh.2021-08-01",
)


def test_last_vote_counts_and_removed_statements_go(small):
    votes = read_polis(small)
    assert votes.conversation == "talk"
    assert votes.comment_ids.tolist() == [10, 30]
    assert votes.texts == ["First", 'Said "so",\nhe said']
    assert votes.moderated.tolist() == [0, 1]
    assert votes.voter_ids.tolist() == [4, 7]
    # Voter 4 passed on 10, and of two votes on 30 at one time the later line counts; voter 7: the
    # later time counts.
    assert votes.voter.tolist() == [0, 0, 1, 1]
    assert votes.statement.tolist() == [0, 1, 0, 1]
    assert votes.vote.tolist() == [0, -1, 1, 1]
    assert (votes.num_removed, votes.num_replaced) == (1, 2)


def test_wide_file_says_the_same(small):
    wide = [
        ["participant", "group-id", "n-votes", "10", "20", "30"],
        [4, "", 2, 0, "", -1],
        [7, 1, 3, 1, 1, 1],
    ]
    long_votes = read_polis(small)
    (small / "votes.csv").unlink()
    with open(small / "participants-votes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(wide)
    wide_votes = read_polis(small)
    for name in ("comment_ids", "voter_ids", "voter", "statement", "vote"):
        np.testing.assert_array_equal(getattr(long_votes, name), getattr(wide_votes, name))


def test_embeddings_by_conversation(small):
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    write_tensors(small.parent / "embeddings-x.safetensors", {"embeddings": table})
    rows = small.parent / "embeddings-rows.csv"
    rows.write_text("conversation,comment-id\nother,10\ntalk,30\ntalk,20\ntalk,10\n")
    embeddings = load_polis_embeddings(small.parent)
    votes = read_polis(small)
    np.testing.assert_array_equal(embeddings.of(votes), table[[3, 1]])
    rows.write_text("conversation,comment-id\nother,10\ntalk,30\ntalk,20\nother,30\n")
    with pytest.raises(ValueError, match="no embedding of comment 10 of talk"):
        load_polis_embeddings(small.parent).of(votes)
    rows.write_text("conversation,comment-id\nother,10\n")
    with pytest.raises(ValueError, match=r"names 1 rows, embeddings-x.safetensors has 4"):
        load_polis_embeddings(small.parent)


BAD_FILES = {
    "html": ("votes.csv", "<html>\n", "votes.csv: column 'timestamp' is missing; found '<html>'"),
    "empty": ("comments.csv", "", "comments.csv: column 'comment-id' is missing; found nothing"),
    "vote out of range": (
        "votes.csv",
        "timestamp,comment-id,voter-id,vote\n1,10,1,2\n",
        "votes.csv line 2: vote is 2",
    ),
    "vote not a number": (
        "votes.csv",
        "timestamp,comment-id,voter-id,vote\n1,10,x,1\n",
        "line 2: voter-id is 'x'",
    ),
    "short line": (
        "votes.csv",
        "timestamp,comment-id,voter-id,vote\n1,10,1\n",
        "line 2: 3 fields, the header has 4",
    ),
    "unknown comment": (
        "votes.csv",
        "timestamp,comment-id,voter-id,vote\n1,99,1,1\n",
        "line 2: a vote on comment 99",
    ),
    "comment twice": (
        "comments.csv",
        "comment-id,moderated,comment-body\n1,1,a\n1,1,b\n",
        "line 3: comment 1 is given twice",
    ),
    "empty comment": (
        "comments.csv",
        "comment-id,moderated,comment-body\n1,1, \n",
        "line 2: comment 1 is empty",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(small, name):
    file, content, message = BAD_FILES[name]
    (small / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_polis(small)


def test_files_that_are_missing_or_not_text_are_refused(small):
    (small / "comments.csv").write_bytes(b"comment-id,moderated,comment-body\n1,1,caf\xe9\n")
    with pytest.raises(ValueError, match=r"comments.csv after line \d: not UTF-8"):
        read_polis(small)
    (small / "comments.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"comments.csv is missing"):
        read_polis(small)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_polis(small / "nowhere")


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_published_conversation(polis_data, conversation):
    votes = read_polis(polis_data / conversation)
    # Polis counted agreements and disagreements of each statement itself, votes that were replaced
    # later included.
    with open(polis_data / conversation / "comments.csv", newline="", encoding="utf-8") as file:
        published = {int(row["comment-id"]): row for row in csv.DictReader(file)}
    for name, value in (("agrees", 1), ("disagrees", -1)):
        theirs = sum(int(published[comment][name]) for comment in votes.comment_ids)
        replaced = (
            votes.num_replaced
            if (polis_data / conversation / "votes.csv").exists()
            else 0.01 * theirs
        )
        assert 0 <= theirs - (votes.vote == value).sum() <= replaced
    # Its own table of voters x statements keeps the last votes: exactly ours.
    with open(
        polis_data / conversation / "participants-votes.csv", newline="", encoding="utf-8"
    ) as file:
        wide = {int(row["participant"]): row for row in csv.DictReader(file)}
    theirs = {
        (voter, comment): row.get(str(comment))
        for voter, row in wide.items()
        for comment in votes.comment_ids
    }
    voters, comments = (
        votes.voter_ids[votes.voter].tolist(),
        votes.comment_ids[votes.statement].tolist(),
    )
    ours = dict(zip(zip(voters, comments, strict=True), map(str, votes.vote.tolist()), strict=True))
    assert ours == {key: value for key, value in theirs.items() if value}
