"""Pairs of a Polis conversation, split and not, against the protocol and the votes alone."""

from collections import Counter

import numpy as np
import pytest

from lore_jax.datasets.polis.pairs import polis_pairs, polis_preferences, polis_text_pairs
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis

CONVERSATIONS = (
    "american-assembly.bowling-green",
    "canadian-electoral-reform",
    "scoop-hivemind.affordable-housing",
    "scoop-hivemind.freshwater",
    "ssis.land-bank-farmland.2rumnecbeh.2021-08-01",
)


@pytest.fixture
def generated(write_conversation):
    """A conversation of 40 statements, two of them of equal text, and 30 voters."""
    rng = np.random.default_rng(0)
    comments = [[0, i, 1, f"Statement {i % 38}"] for i in range(40)]
    votes = []
    for voter in range(30):
        for comment in rng.permutation(40)[: rng.integers(0, 41)]:
            votes.append([0, comment, voter, rng.choice([-1, 0, 1])])
    return read_polis(write_conversation("talk", comments, votes))


def votes_by_user(votes):
    """Each user's votes on texts, under a text's first statement; 0 for yes and no to one."""
    by_user = {}
    for voter, statement, vote in zip(
        votes.voter.tolist(), votes.statement.tolist(), votes.vote.tolist(), strict=True
    ):
        by_text = by_user.setdefault(f"{votes.conversation}/{votes.voter_ids[voter]}", {})
        first_statement = votes.texts.index(votes.texts[statement])
        by_text.setdefault(first_statement, []).append(vote)
    return {
        user: {
            statement: (1 in all_votes) - (-1 in all_votes)
            for statement, all_votes in by_text.items()
        }
        for user, by_text in by_user.items()
    }


def check_split(votes, split, test, limits=(40, 20, 20, 5)):
    """The protocol, checked from the votes alone."""
    by_user = votes_by_user(votes)
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
            assert (
                by_user[prefs.user_ids[user]][chosen],
                by_user[prefs.user_ids[user]][rejected],
            ) == (
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
def test_splits_follow_the_protocol(generated, test):
    votes = generated
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


@pytest.mark.parametrize("test", ["new items", "known items"])
def test_folds_hold_out_each_statement_once(generated, test):
    table = np.zeros((40, 3), np.float32)
    limits = {"max_train_pairs": 400, "max_test_pairs": 400, "min_train_pairs": 0}
    splits = [
        polis_preferences(
            generated, table, test=test, split_seed=3, fold=(k, 4), min_test_pairs=0, **limits
        )
        for k in range(4)
    ]
    tested = []  # (user, statement), or statements alone
    for split in splits:
        check_split(generated, split, test, (400, 400, 0, 0))
        user = split.test.user if test == "known items" else np.zeros_like(split.test.user)
        of_pairs = (split.test.chosen, split.test.rejected)
        tested.append({pair for rows in of_pairs for pair in zip(user, rows, strict=True)})
    assert sum(map(len, tested)) == len(set().union(*tested)) > 30
    with pytest.raises(ValueError, match=r"fold is \(4, 4\)"):
        polis_preferences(generated, table, split_seed=3, fold=(4, 4))


def test_cross_split_pairs_are_counted(generated):
    votes = generated
    table = np.eye(len(votes.texts), dtype=np.float32)
    # With caps nobody reaches, what is drawn is everything inside, and the rest of agreed x
    # disagreed is cross-split.
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
    counts = [
        Counter(by_text.values()) for user, by_text in votes_by_user(votes).items() if user in kept
    ]
    assert split.num_cross_split == sum(count[1] * count[-1] for count in counts) - split.num_inside


def test_all_pairs_keep_users_without_any(generated):
    votes = generated
    prefs = polis_pairs(votes, np.eye(len(votes.texts), dtype=np.float32), seed=0, max_pairs=10)
    by_user = votes_by_user(votes)
    expected = []
    for voter in votes.voter_ids:
        count = Counter(by_user.get(f"talk/{voter}", {}).values())
        expected.append(min(10, count[1] * count[-1]))
    np.testing.assert_array_equal(prefs.pairs_per_user(), expected)
    assert 0 in expected


def test_statements_of_one_text_are_one_response(write_conversation):
    texts = ["Trees.", "Cars.", " Trees.", "Bikes.", "Cars."]
    comments = [[0, i, 1, text] for i, text in enumerate(texts)]
    ballots = {1: [0, 0, 1, -1, 0], 2: [1, 0, 1, 0, -1], 3: [1, -1, -1, -1, 0], 4: [-1, 0, 0, 0, 1]}
    votes = [
        [0, i, voter, vote]
        for voter, votes_of_voter in ballots.items()
        for i, vote in enumerate(votes_of_voter)
    ]
    votes = read_polis(write_conversation("talk", comments, votes))
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


def test_equal_texts_of_several_conversations_are_one_response(write_conversation):
    texts = {"one": ["Trees.", "Cars.", " Trees."], "two": ["Bikes.", "Trees."]}
    conversations = [
        read_polis(
            write_conversation(
                name,
                [[0, i, 1, text] for i, text in enumerate(texts[name])],
                [[0, i, 5, (1, -1, 1)[i]] for i in range(len(texts[name]))],
            )
        )
        for name in texts
    ]
    pairs = polis_text_pairs(conversations, seed=0)
    assert [tuple(response) for response in pairs.responses] == [
        ([], "Trees."),
        ([], "Cars."),
        ([], "Bikes."),
    ]
    assert pairs.labels == ["comment 0 of one", "comment 1 of one", "comment 0 of two"]
    assert list(zip(pairs.chosen, pairs.rejected, pairs.user, pairs.prompt, strict=True)) == [
        (0, 1, 0, 0),
        (2, 0, 1, 1),
    ]
    assert pairs.user_ids == ["one/5", "two/5"]
    with pytest.raises(ValueError, match=r"^the conversation one is given twice$"):
        polis_text_pairs([*conversations, conversations[0]], seed=0)


def test_other_refusals(small):
    votes = read_polis(small)
    with pytest.raises(ValueError, match="one row for each of 2 statements"):
        polis_preferences(votes, np.zeros((3, 2), np.float32), split_seed=0)
    with pytest.raises(ValueError, match="none of 2 voters has 20 training and 5 test pairs"):
        polis_preferences(votes, np.eye(2, dtype=np.float32), split_seed=0)
    table = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="'new items' or 'known items' is expected"):
        polis_preferences(votes, table, test="new", split_seed=0)  # pyright: ignore


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_splits_of_a_published_conversation(polis_data, conversation):
    votes = read_polis(polis_data / conversation)
    table = load_polis_embeddings(polis_data).of(votes)
    np.testing.assert_allclose(np.linalg.norm(table.astype(np.float32), axis=1), 1, atol=2e-3)
    for test in ("new items", "known items"):
        split = polis_preferences(votes, table, test=test, split_seed=0)
        check_split(votes, split, test)
        # a random 30 % (25 %) cut separates 2 x .3 x .7 = 42 % (37.5 %) of all combinations
        share = split.num_cross_split / (split.num_cross_split + split.num_inside)
        assert abs(share - {"new items": 0.42, "known items": 0.375}[test]) < 0.08
