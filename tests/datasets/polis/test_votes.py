"""Polis reader and its two splits, on a generated conversation and, where it is at hand, on the
published one.
"""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lore_jax.datasets.polis.pairs import polis_pairs, polis_preferences
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.storage.safetensors import write_tensors

ROOT = Path(os.environ.get("LORE_POLIS", Path(__file__).parents[4] / "shared" / "data" / "polis"))
needs_data = pytest.mark.skipif(
    not ROOT.is_dir(), reason="the Polis data is not at hand (LORE_POLIS)"
)
CONVERSATIONS = (
    "american-assembly.bowling-green",
    "canadian-electoral-reform",
    "scoop-hivemind.affordable-housing",
    "scoop-hivemind.freshwater",
    "ssis.land-bank-farmland.2rumnecbeh.2021-08-01",
)

COMMENTS = [["timestamp", "comment-id", "moderated", "comment-body"]]
VOTES = [["timestamp", "comment-id", "voter-id", "vote"]]


def write_conversation(folder, comments, votes, wide=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("comments.csv", comments),
        ("participants-votes.csv" if wide else "votes.csv", votes),
    ):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return folder


@pytest.fixture
def small(tmp_path):
    comments = [
        *COMMENTS,
        [1, 30, 1, 'Said "so",\nhe said'],
        [1, 10, 0, "First"],
        [1, 20, -1, "Removed"],
    ]
    votes = [
        *VOTES,
        [5, 10, 7, 1],
        [6, 30, 7, 1],
        [3, 30, 7, -1],
        [1, 20, 7, 1],
        [2, 10, 4, 0],
        [2, 30, 4, 1],
        [2, 30, 4, -1],
    ]
    return write_conversation(tmp_path / "talk", comments, votes)


def generated(tmp_path, seed=0, statements=40, voters=30):
    rng = np.random.default_rng(seed)
    comments = [
        *COMMENTS,
        *([0, i, 1, f"Statement {i % (statements - 2)}"] for i in range(statements)),
    ]
    votes = [*VOTES]
    for voter in range(voters):
        for comment in rng.permutation(statements)[: rng.integers(0, statements + 1)]:
            votes.append([0, comment, voter, rng.choice([-1, 0, 1])])
    return read_polis(write_conversation(tmp_path / "talk", comments, votes))


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


def test_wide_file_says_the_same(small, tmp_path):
    wide = [
        ["participant", "group-id", "n-votes", "10", "20", "30"],
        [4, "", 2, 0, "", -1],
        [7, 1, 3, 1, 1, 1],
    ]
    comments = [
        *COMMENTS,
        [1, 30, 1, 'Said "so",\nhe said'],
        [1, 10, 0, "First"],
        [1, 20, -1, "Removed"],
    ]
    one, other = (
        read_polis(small),
        read_polis(write_conversation(tmp_path / "wide", comments, wide, wide=True)),
    )
    for name in ("comment_ids", "voter_ids", "voter", "statement", "vote"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def votes_by_user(votes):
    """Each user's votes on texts, under the first statement of the text; 0 for who said both yes
    and no to one.
    """
    by_user = {}
    for voter, statement, vote in zip(
        votes.voter.tolist(), votes.statement.tolist(), votes.vote.tolist(), strict=True
    ):
        said = by_user.setdefault(f"{votes.conversation}/{votes.voter_ids[voter]}", {})
        statement = votes.texts.index(votes.texts[statement])
        said.setdefault(statement, []).append(vote)
    return {
        user: {
            statement: (1 in all_votes) - (-1 in all_votes) for statement, all_votes in said.items()
        }
        for user, said in by_user.items()
    }


def check_split(votes, split, test, limits=(40, 20, 20, 5)):
    """The protocol, checked from the votes alone."""
    said = votes_by_user(votes)
    assert split.train.embeddings is split.test.embeddings
    assert split.train.user_ids is not None
    assert split.train.user_ids.tolist() == split.test.user_ids.tolist()
    assert split.num_dropped_users == len(votes.voter_ids) - split.train.num_users
    sides = []
    for prefs, cap, least in (
        (split.train, limits[0], limits[2]),
        (split.test, limits[1], limits[3]),
    ):
        pairs = list(
            zip(prefs.user.tolist(), prefs.chosen.tolist(), prefs.rejected.tolist(), strict=True)
        )
        assert len(set(pairs)) == len(pairs)
        for user, chosen, rejected in pairs:
            assert (said[prefs.user_ids[user]][chosen], said[prefs.user_ids[user]][rejected]) == (
                1,
                -1,
            )
        count = Counter(user for user, *_ in pairs)
        assert all(least <= count[user] <= cap for user in range(prefs.num_users))
        sides.append(
            {(user, row) for user, chosen, rejected in pairs for row in (chosen, rejected)}
        )
    assert not sides[0] & sides[1]  # never the same user with the same response on both sides
    if test == "new items":
        texts = [{votes.texts[row] for _, row in side} for side in sides]
        assert not texts[0] & texts[1]


@pytest.mark.parametrize("test", ["new items", "known items"])
def test_splits_follow_the_protocol(tmp_path, test):
    votes = generated(tmp_path)
    table = np.random.default_rng(1).normal(size=(len(votes.texts), 4)).astype(np.float32)
    limits = {"max_train_pairs": 15, "max_test_pairs": 6, "min_train_pairs": 8, "min_test_pairs": 2}
    seen = set()
    for seed in range(20):
        split = polis_preferences(votes, table, test=test, split_seed=seed, **limits)
        again = polis_preferences(votes, table, test=test, split_seed=seed, **limits)
        check_split(votes, split, test, limits=(15, 6, 8, 2))
        np.testing.assert_array_equal(split.train.chosen, again.train.chosen)
        np.testing.assert_array_equal(split.test.rejected, again.test.rejected)
        seen.add(tuple(split.train.chosen[:20]))
    assert len(seen) == 20


def test_cross_split_pairs_are_counted(tmp_path):
    votes = generated(tmp_path)
    table = np.eye(len(votes.texts), dtype=np.float32)
    # With caps nobody reaches, what is drawn is everything inside, and the rest of agreed x
    # disagreed straddles.
    split = polis_preferences(
        votes,
        table,
        split_seed=3,
        max_train_pairs=10_000,
        max_test_pairs=10_000,
        min_train_pairs=1,
        min_test_pairs=1,
    )
    assert split.num_inside == split.train.num_pairs + split.test.num_pairs
    kept = set(split.train.user_ids.tolist())
    counts = [Counter(said.values()) for user, said in votes_by_user(votes).items() if user in kept]
    assert split.num_cross_split == sum(count[1] * count[-1] for count in counts) - split.num_inside


def test_all_pairs_keep_users_without_any(tmp_path):
    votes = generated(tmp_path)
    prefs = polis_pairs(votes, np.eye(len(votes.texts), dtype=np.float32), seed=0, max_pairs=10)
    said = votes_by_user(votes)
    expected = []
    for voter in votes.voter_ids:
        count = Counter(said.get(f"talk/{voter}", {}).values())
        expected.append(min(10, count[1] * count[-1]))
    np.testing.assert_array_equal(prefs.pairs_per_user(), expected)
    assert 0 in expected


def test_statements_of_one_text_are_one_response(tmp_path):
    texts = ["Trees.", "Cars.", " Trees.", "Bikes.", "Cars."]
    comments = [*COMMENTS, *([0, i, 1, text] for i, text in enumerate(texts))]
    ballots = {1: [0, 0, 1, -1, 0], 2: [1, 0, 1, 0, -1], 3: [1, -1, -1, -1, 0], 4: [-1, 0, 0, 0, 1]}
    votes = [
        *VOTES,
        *([0, i, voter, vote] for voter, said in ballots.items() for i, vote in enumerate(said)),
    ]
    votes = read_polis(write_conversation(tmp_path / "talk", comments, votes))
    prefs = polis_pairs(votes, np.eye(5, dtype=np.float32), seed=0)
    # Voter 2 agreed with both copies of the trees, 3 with one of them only, which says nothing of
    # trees.
    assert [
        sorted(
            zip(
                *(side[prefs.user == user].tolist() for side in (prefs.chosen, prefs.rejected)),
                strict=True,
            )
        )
        for user in range(4)
    ] == [[(0, 3)], [(0, 1)], [], [(1, 0)]]


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


def test_other_refusals(small):
    votes = read_polis(small)
    with pytest.raises(ValueError, match="one row for each of 2 statements"):
        polis_preferences(votes, np.zeros((3, 2), np.float32), split_seed=0)
    with pytest.raises(ValueError, match="none of 2 voters has 20 training and 5 test pairs"):
        polis_preferences(votes, np.eye(2, dtype=np.float32), split_seed=0)
    with pytest.raises(ValueError, match="'new items' or 'known items' is expected"):
        polis_preferences(votes, np.eye(2, dtype=np.float32), test="new", split_seed=0)  # pyright: ignore
    (small / "comments.csv").write_bytes(b"comment-id,moderated,comment-body\n1,1,caf\xe9\n")
    with pytest.raises(ValueError, match=r"comments.csv after line \d: not UTF-8"):
        read_polis(small)
    (small / "comments.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"comments.csv is missing"):
        read_polis(small)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_polis(small / "nowhere")


@needs_data
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_published_conversation(conversation):
    votes = read_polis(ROOT / conversation)
    # Polis counted agreements and disagreements of each statement itself, votes that were replaced
    # later included.
    with open(ROOT / conversation / "comments.csv", newline="", encoding="utf-8") as file:
        published = {int(row["comment-id"]): row for row in csv.DictReader(file)}
    for name, value in (("agrees", 1), ("disagrees", -1)):
        theirs = sum(int(published[comment][name]) for comment in votes.comment_ids)
        replaced = (
            votes.num_replaced if (ROOT / conversation / "votes.csv").exists() else 0.01 * theirs
        )
        assert 0 <= theirs - (votes.vote == value).sum() <= replaced
    # Its own table of voters x statements keeps the last votes: exactly ours.
    with open(ROOT / conversation / "participants-votes.csv", newline="", encoding="utf-8") as file:
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
    table = load_polis_embeddings(ROOT).of(votes)
    np.testing.assert_allclose(np.linalg.norm(table.astype(np.float32), axis=1), 1, atol=2e-3)
    for test in ("new items", "known items"):
        split = polis_preferences(votes, table, test=test, split_seed=0)
        check_split(votes, split, test)
        # a random 30 % (25 %) cut separates 2 x .3 x .7 = 42 % (37.5 %) of all combinations
        share = split.num_cross_split / (split.num_cross_split + split.num_inside)
        assert abs(share - {"new items": 0.42, "known items": 0.375}[test]) < 0.08
