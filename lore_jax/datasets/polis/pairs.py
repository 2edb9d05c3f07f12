"""From the votes of a Polis conversation to pairs: of everybody, or split into training and test.

A user is one voter of one conversation, a response is a statement, and a pair sets a statement the
user agreed with against one the user disagreed with. All statements answer one prompt, the
conversation; the group that splits must not cut is therefore the response. Statements of one text
are one response, the first of them: no split can put a text on both of its sides. These are
agree/disagree votes on statements written by people, not choices between replies of a model: say so
beside every number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.data.splits import Holdout
from lore_jax.datasets.formats.rows import ResponseTable, TextPairs
from lore_jax.datasets.polis.votes import Votes

NOTE = "Pairs of agree and disagree votes of people on statements by people, not choices between a model's replies."

_TEST_FRACTION = {"new items": 0.30, "known items": 0.25}


class PolisSplit(NamedTuple):
    """Training and test pairs of the same users over the same table, and what was left out.

    Attributes:
        train: the training pairs.
        test: the test pairs.
        num_dropped_users: voters with too few pairs in either part.
        num_cross_split: combinations (agreed, disagreed) of the users kept that have a foot in each
            part, never drawn.
        num_inside: combinations of the users kept inside one part, from which the pairs were drawn.
    """

    train: Preferences
    test: Preferences
    num_dropped_users: int
    num_cross_split: int
    num_inside: int


class JoinedPairs(NamedTuple):
    """Pairs of several conversations over one table; each conversation is a prompt.

    Attributes:
        columns: chosen, rejected, user, prompt: int `[pairs]` each.
        user_ids: the voters, `conversation/voter`.
        counts: how many statements moderators removed, and how many votes a later one replaced.
    """

    columns: dict[str, np.ndarray]
    user_ids: list[str]
    counts: dict[str, int]


def polis_preferences(
    votes: Votes,
    embeddings: Any,
    *,
    test: Holdout = "new items",
    split_seed: int,
    max_train_pairs: int = 40,
    max_test_pairs: int = 20,
    min_train_pairs: int = 20,
    min_test_pairs: int = 5,
) -> PolisSplit:
    """Draws one split of a conversation into training and test pairs of the same users.

    "new items": 30 % of the statements are held out for everybody. "known items": each user's own votes
    (agree and disagree) are cut 75/25 first; other users may have judged the same statements. In
    both, pairs are then drawn inside each part: no pair has a foot in both, and no user meets a
    training statement in a test.

    Args:
        votes: one conversation.
        embeddings: one row a statement, `[statements, dim]`, in the order of `votes.comment_ids`.
        test: what the test pairs are about.
        split_seed: seed of the split and of the draws.
        max_train_pairs: pairs drawn for a user's training, without replacement, from all agreed x
            disagreed statements.
        max_test_pairs: the same for the test.
        min_train_pairs: users with fewer training pairs are dropped.
        min_test_pairs: users with fewer test pairs are dropped.

    Returns:
        The split; its user ids are `conversation/voter`, and both parts share the table.

    Raises:
        ValueError: an argument is not what it should be, or no user has enough pairs.

    Example:
        >>> split = polis_preferences(votes, load_polis_embeddings(root).of(votes), test="new items", split_seed=0)
        >>> split.train.num_users == split.test.num_users
        True
    """
    if test not in _TEST_FRACTION:
        raise ValueError(f"test is {test!r}: 'unseen' or 'seen' is expected")
    _check_rows(votes, embeddings)
    rng = np.random.default_rng(split_seed)
    text_of = np.unique(votes.texts, return_inverse=True)[1]
    num_texts = int(text_of.max(initial=-1)) + 1
    held_out_texts = rng.permutation(num_texts)[: round(_TEST_FRACTION["new items"] * num_texts)]
    held_out = np.isin(text_of, held_out_texts)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = (
        [],
        [],
    )  # [pairs, 2] of each user kept: train, test
    users, cross_split, inside = [], 0, 0
    for voter, statement, vote in _ballots(votes):
        if test == "new items":
            in_test = held_out[statement]
        else:
            in_test = np.zeros(len(statement), bool)
            in_test[
                rng.permutation(len(statement))[
                    : round(_TEST_FRACTION["known items"] * len(statement))
                ]
            ] = True
        train_pairs, train_count = _draw_pairs(
            statement[~in_test], vote[~in_test], max_train_pairs, rng
        )
        test_pairs, test_count = _draw_pairs(statement[in_test], vote[in_test], max_test_pairs, rng)
        if len(train_pairs) < min_train_pairs or len(test_pairs) < min_test_pairs:
            continue
        users.append(voter)
        parts[0].append(train_pairs)
        parts[1].append(test_pairs)
        inside += train_count + test_count
        cross_split += int((vote == 1).sum() * (vote == -1).sum()) - train_count - test_count
    if not users:
        raise ValueError(
            f"{votes.conversation}: none of {len(votes.voter_ids)} voters has {min_train_pairs} training and "
            f"{min_test_pairs} test pairs"
        )
    train, test_part = (_preferences(votes, embeddings, users, pairs) for pairs in parts)
    return PolisSplit(train, test_part, len(votes.voter_ids) - len(users), cross_split, inside)


def polis_pairs(votes: Votes, embeddings: Any, *, seed: int, max_pairs: int = 60) -> Preferences:
    """Draws pairs of all voters, not split: what a cache of a conversation holds. Split them by
    response.

    Args:
        votes: one conversation.
        embeddings: one row a statement, `[statements, dim]`, in the order of `votes.comment_ids`.
        seed: seed of the draws.
        max_pairs: pairs drawn for a user, without replacement, from all agreed x disagreed
            statements.

    Returns:
        The pairs; users are all voters, those without any pair too, under the names
        `conversation/voter`.

    Raises:
        ValueError: the table does not fit the statements.
    """
    _check_rows(votes, embeddings)
    rng = np.random.default_rng(seed)
    pairs = [np.zeros((0, 2), np.int32)] * len(votes.voter_ids)
    for voter, statement, vote in _ballots(votes):
        pairs[voter] = _draw_pairs(statement, vote, max_pairs, rng)[0]
    return _preferences(votes, embeddings, list(range(len(pairs))), pairs)


def join_polis_pairs(
    conversations: Sequence[Votes], rows: Sequence[np.ndarray], *, seed: int, max_pairs: int = 60
) -> JoinedPairs:
    """Draws the pairs of several conversations, by `polis_pairs`, over one table of all their
    statements.

    Args:
        conversations: the conversations.
        rows: the rows of the table that hold each conversation's statements, int `[statements]`
            each.
        seed: seed of the draws.
        max_pairs: pairs drawn for a user.

    Returns:
        The pairs, conversation by conversation.

    Raises:
        ValueError: a conversation is given twice.
    """
    names = [votes.conversation for votes in conversations]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the conversation {twice[0]} is given twice")
    columns: dict[str, list[np.ndarray]] = {"chosen": [], "rejected": [], "user": [], "prompt": []}
    user_ids: list[str] = []
    for number, (votes, row) in enumerate(zip(conversations, rows, strict=True)):
        drawn = polis_pairs(
            votes, np.zeros((len(row), 1), np.float16), seed=seed, max_pairs=max_pairs
        )
        assert drawn.user_ids is not None
        columns["chosen"].append(row[drawn.chosen])
        columns["rejected"].append(row[drawn.rejected])
        columns["user"].append(drawn.user + len(user_ids))
        columns["prompt"].append(np.full(drawn.num_pairs, number, np.int32))
        user_ids += drawn.user_ids.tolist()
    counts = {
        "removed_statements": sum(votes.num_removed for votes in conversations),
        "replaced_votes": sum(votes.num_replaced for votes in conversations),
    }
    return JoinedPairs(
        {name: np.concatenate(parts) for name, parts in columns.items()}, user_ids, counts
    )


def polis_text_pairs(
    conversations: Sequence[Votes], *, seed: int, max_pairs: int = 60
) -> TextPairs:
    """The statements of several conversations as texts to embed, each distinct text once, and pairs
    of all voters.

    A statement is a reply without a prompt: what is embedded is its text and nothing else.

    Args:
        conversations: the conversations.
        seed: seed of the draws of pairs.
        max_pairs: pairs drawn for a user.

    Returns:
        What `embed_pairs` takes. Statements that nobody compared are embedded too.

    Raises:
        ValueError: a conversation is given twice.

    Example:
        >>> pairs = polis_text_pairs([read_polis(folder) for folder in folders], seed=0)
        >>> embed_pairs(pairs, "all-MiniLM-L6-v2", "cache")
    """
    table, places, rows = ResponseTable(), [], []
    for votes in conversations:
        rows.append(np.array([table.row((), text) for text in votes.texts], np.int32))
        first = np.unique(rows[-1], return_index=True)[
            1
        ]  # by ascending row, so that new ones follow on `places`
        new = first[rows[-1][first] >= len(places)]
        places += [
            f"comment {comment} of {votes.conversation}" for comment in votes.comment_ids[new]
        ]
    joined = join_polis_pairs(conversations, rows, seed=seed, max_pairs=max_pairs)
    return TextPairs(
        **joined.columns,
        pair_weight=np.ones(len(joined.columns["user"]), np.float32),
        user_ids=joined.user_ids,
        num_duplicates=0,
        responses=table.responses,
        extra=[],
        places=places,
        note=NOTE,
        counts=joined.counts,
    )


def _check_rows(votes: Votes, embeddings: Any) -> None:
    if np.shape(embeddings)[:1] != (len(votes.comment_ids),):
        raise ValueError(
            f"{votes.conversation}: embeddings has shape {np.shape(embeddings)}: one row for each of "
            f"{len(votes.comment_ids)} statements is expected"
        )


def _ballots(votes: Votes) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each voter who agreed or disagreed with something, with the statements (the first of their
    text) and the votes.

    Who agreed with one copy of a text and disagreed with another has said neither.
    """
    _, first_of_text, text = np.unique(votes.texts, return_index=True, return_inverse=True)
    said = votes.vote != 0
    statement = first_of_text[text][votes.statement[said]]
    ballots, copy = np.unique(
        np.stack([votes.voter[said], statement], axis=1), axis=0, return_inverse=True
    )
    sum_of_votes = np.bincount(copy.reshape(-1), votes.vote[said], minlength=len(ballots))
    count = np.bincount(copy.reshape(-1), minlength=len(ballots))
    agreeing = np.abs(sum_of_votes) == count
    (voter, statement), vote = ballots[agreeing].T, np.sign(sum_of_votes[agreeing]).astype(np.int8)
    voters, first = np.unique(voter, return_index=True)
    for one, start, stop in zip(
        voters.tolist(), first, np.append(first, len(voter))[1:], strict=True
    ):
        yield one, statement[start:stop], vote[start:stop]


def _draw_pairs(
    statement: np.ndarray, vote: np.ndarray, max_pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Up to `max_pairs` distinct (agreed, disagreed) statements `[n, 2]` in random order; how many
    there are in all.
    """
    agreed, disagreed = statement[vote == 1], statement[vote == -1]
    count = len(agreed) * len(disagreed)
    drawn = rng.choice(count, min(count, max_pairs), replace=False)
    return np.stack(
        [agreed[drawn // max(1, len(disagreed))], disagreed[drawn % max(1, len(disagreed))]], axis=1
    ), count


def _preferences(
    votes: Votes, embeddings: Any, users: list[int], pairs: list[np.ndarray]
) -> Preferences:
    chosen, rejected = np.concatenate([np.zeros((0, 2), np.int32), *pairs]).T
    return from_arrays(
        embeddings,
        chosen,
        rejected,
        np.repeat(np.arange(len(users)), [len(of_user) for of_user in pairs]),
        user_ids=[f"{votes.conversation}/{votes.voter_ids[user]}" for user in users],
    )
