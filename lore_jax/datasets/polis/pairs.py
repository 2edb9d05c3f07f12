"""From the votes of a Polis conversation to pairs: of everybody, or split into training and test.

A user is one voter of one conversation, a response is a statement, and a pair sets a statement the
user agreed with against one the user disagreed with. All statements answer one prompt, the
conversation; the group that a split keeps on one side is therefore the response. Statements of one
text are one response, the first of them, so that no split has a text on both sides. These are agree
and disagree votes on statements written by people, not choices between replies of a model: every
number from them carries this note.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.data.splits import Fold, Holdout, check_fold
from lore_jax.datasets.formats.rows import ResponseTable, TextPairs, index_pairs
from lore_jax.datasets.polis.votes import Votes

NOTE = (
    "Pairs of agree and disagree votes of people on statements by people, "
    "not choices between a model's replies."
)

_TEST_FRACTION = {"new items": 0.30, "known items": 0.25}

_Embeddings = Float[np.ndarray | jax.Array, "statements dim"]


class PolisSplit(NamedTuple):
    """Training and test pairs of the same users over the same table, and what was left out.

    Attributes:
        train: the training pairs.
        test: the test pairs.
        num_dropped_users: voters with too few pairs in either part.
        num_cross_split: combinations (agreed, disagreed) of the users kept with one statement in
            each part, never drawn.
        num_inside: combinations of the users kept inside one part, from which the pairs were drawn.
    """

    train: Preferences
    test: Preferences
    num_dropped_users: int
    num_cross_split: int
    num_inside: int


def polis_preferences(
    votes: Votes,
    embeddings: _Embeddings,
    *,
    test: Holdout = "new items",
    split_seed: int,
    fold: Fold | None = None,
    max_train_pairs: int = 40,
    max_test_pairs: int = 20,
    min_train_pairs: int = 20,
    min_test_pairs: int = 5,
) -> PolisSplit:
    """Draws one split of a conversation into training and test pairs of the same users.

    "new items": 30 % of the statements are held out for all users. "known items": 25 % of each
    user's own votes (agree and disagree) are held out; other users may have judged the same
    statements in training. Pairs are then drawn inside each part: no pair combines both parts, and
    no user's test holds a statement of that user's training.

    Args:
        votes: one conversation.
        embeddings: one row a statement, `[statements, dim]`, in the order of `votes.comment_ids`.
        test: what the test pairs are about.
        split_seed: seed of the split and of the draws.
        fold: `(k, count)`: the k-th of `count` equal parts of the statements in random order (of
            each user's own, for known items) instead of the shares above. The folds of one seed
            hold out each statement once; `split_users` has folds of the users.
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
        >>> table = load_polis_embeddings("data/polis").of(votes)  # doctest: +SKIP
        >>> split = polis_preferences(votes, table, split_seed=0)  # doctest: +SKIP
        >>> split.train.num_users == split.test.num_users  # doctest: +SKIP
        True
    """
    if test not in _TEST_FRACTION:
        raise ValueError(f"test is {test!r}: 'new items' or 'known items' is expected")
    if fold is not None:
        check_fold(fold)
    _check_rows(votes, embeddings)
    rng = np.random.default_rng(split_seed)
    text_of = np.unique(votes.texts, return_inverse=True)[1]
    num_texts = int(text_of.max(initial=-1)) + 1
    held_out = _held_out(num_texts, "new items", fold, rng)[text_of]
    # Of each user kept, [pairs, 2] each.
    train: list[np.ndarray] = []
    tested: list[np.ndarray] = []
    users, cross_split, inside = [], 0, 0
    for voter, statement, vote in _ballots(votes):
        if test == "new items":
            in_test = held_out[statement]
        else:
            # A voter's folds must not depend on what was drawn for the voters before.
            order = rng if fold is None else np.random.default_rng((split_seed, voter))
            in_test = _held_out(len(statement), "known items", fold, order)
        parts = [(statement[part], vote[part]) for part in (~in_test, in_test)]
        train_pairs, train_count = _draw_pairs(*parts[0], max_train_pairs, rng)
        test_pairs, test_count = _draw_pairs(*parts[1], max_test_pairs, rng)
        if len(train_pairs) < min_train_pairs or len(test_pairs) < min_test_pairs:
            continue
        users.append(voter)
        train.append(train_pairs)
        tested.append(test_pairs)
        inside += train_count + test_count
        cross_split += int((vote == 1).sum() * (vote == -1).sum()) - train_count - test_count
    if not users:
        raise ValueError(
            f"{votes.conversation}: none of {len(votes.voter_ids)} voters has {min_train_pairs} "
            f"training and {min_test_pairs} test pairs"
        )
    parts = [_preferences(votes, embeddings, users, pairs) for pairs in (train, tested)]
    num_dropped = len(votes.voter_ids) - len(users)
    return PolisSplit(parts[0], parts[1], num_dropped, cross_split, inside)


def _held_out(
    count: int, test: Holdout, fold: Fold | None, rng: np.random.Generator
) -> Bool[np.ndarray, " statements"]:
    """Which of `count` statements are held out: a share of their random order, or a fold of it."""
    order, held_out = rng.permutation(count), np.zeros(count, bool)
    if fold is None:
        held_out[order[: round(_TEST_FRACTION[test] * count)]] = True
    else:
        held_out[order[fold[0] :: fold[1]]] = True
    return held_out


def polis_pairs(
    votes: Votes, embeddings: _Embeddings, *, seed: int, max_pairs: int = 60
) -> Preferences:
    """Draws pairs of all voters, not split; split them by response.

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
    pairs = _pairs_of_voters(votes, seed, max_pairs)
    return _preferences(votes, embeddings, list(range(len(pairs))), pairs)


def polis_text_pairs(
    conversations: Sequence[Votes], *, seed: int, max_pairs: int = 60
) -> TextPairs:
    """Pairs of all voters of several conversations, over the distinct texts of their statements.

    Equal texts are one response, also across conversations, so that no split has a text on both
    sides. A response is a reply without a prompt: only the text is embedded. Each conversation is
    a prompt of the pairs.

    Args:
        conversations: the conversations.
        seed: seed of the draws of pairs.
        max_pairs: pairs drawn for a user.

    Returns:
        What `embed_pairs` takes. Its responses are in the order of each text's first statement;
        statements that nobody compared are among them.

    Raises:
        ValueError: a conversation is given twice.

    Example:
        >>> votes = read_polis("data/polis/scoop-hivemind.freshwater")  # doctest: +SKIP
        >>> pairs = polis_text_pairs([votes], seed=0)  # doctest: +SKIP
        >>> embed_pairs(pairs, "all-MiniLM-L6-v2", "cache")  # doctest: +SKIP
    """
    names = [votes.conversation for votes in conversations]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"the conversation {repeated[0]} is given twice")
    table, labels, user_ids = ResponseTable(), [], []
    columns: list[np.ndarray] = []  # chosen, rejected, user, prompt: [pairs, 4] each
    for number, votes in enumerate(conversations):
        rows = []
        for comment, text in zip(votes.comment_ids, votes.texts, strict=True):
            rows.append(table.row((), text))
            if rows[-1] == len(labels):
                labels.append(f"comment {comment} of {votes.conversation}")
        pairs = _pairs_of_voters(votes, seed, max_pairs)
        chosen, rejected, user = _columns(pairs)
        rows = np.array(rows, np.int32)
        prompt = np.full(len(user), number)
        columns.append(np.stack([rows[chosen], rows[rejected], user + len(user_ids), prompt], 1))
        user_ids += _user_ids(votes, range(len(pairs)))
    pairs = index_pairs(np.concatenate(columns), user_ids)
    counts = {
        "removed_statements": sum(votes.num_removed for votes in conversations),
        "replaced_votes": sum(votes.num_replaced for votes in conversations),
    }
    fields = {**vars(pairs), "note": NOTE, "counts": counts}
    return TextPairs(**fields, responses=table.responses, labels=labels)


def _check_rows(votes: Votes, embeddings: _Embeddings) -> None:
    if np.shape(embeddings)[:1] != (len(votes.comment_ids),):
        raise ValueError(
            f"{votes.conversation}: embeddings has shape {np.shape(embeddings)}: "
            f"one row for each of {len(votes.comment_ids)} statements is expected"
        )


def _ballots(votes: Votes) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each voter who agreed or disagreed with a statement, the statements, and the votes.

    A statement stands for all of its text: the first with the text. Who agreed with one copy of a
    text and disagreed with another has no vote on it.
    """
    _, first_of_text, text = np.unique(votes.texts, return_index=True, return_inverse=True)
    is_opinion = votes.vote != 0
    statement = first_of_text[text][votes.statement[is_opinion]]
    ballots, copy = np.unique(
        np.stack([votes.voter[is_opinion], statement], axis=1), axis=0, return_inverse=True
    )
    copy = copy.reshape(-1)
    sum_of_votes = np.bincount(copy, votes.vote[is_opinion], minlength=len(ballots))
    is_unanimous = np.abs(sum_of_votes) == np.bincount(copy, minlength=len(ballots))
    voter, statement = ballots[is_unanimous].T
    vote = np.sign(sum_of_votes[is_unanimous]).astype(np.int8)
    voters, first = np.unique(voter, return_index=True)
    stops = np.append(first, len(voter))[1:]
    for index, start, stop in zip(voters.tolist(), first, stops, strict=True):
        yield index, statement[start:stop], vote[start:stop]


def _pairs_of_voters(votes: Votes, seed: int, max_pairs: int) -> list[np.ndarray]:
    """(agreed, disagreed) statements of each voter, `[pairs, 2]`, not split."""
    rng = np.random.default_rng(seed)
    pairs = [np.zeros((0, 2), np.int32)] * len(votes.voter_ids)
    for voter, statement, vote in _ballots(votes):
        pairs[voter] = _draw_pairs(statement, vote, max_pairs, rng)[0]
    return pairs


def _draw_pairs(
    statement: np.ndarray, vote: np.ndarray, max_pairs: int, rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Up to `max_pairs` distinct (agreed, disagreed) statements, and the number of all of them."""
    agreed, disagreed = statement[vote == 1], statement[vote == -1]
    count = len(agreed) * len(disagreed)
    drawn = rng.choice(count, min(count, max_pairs), replace=False)
    row, column = np.divmod(drawn, max(1, len(disagreed)))
    return np.stack([agreed[row], disagreed[column]], axis=1), count


def _user_ids(votes: Votes, users: Sequence[int]) -> list[str]:
    return [f"{votes.conversation}/{votes.voter_ids[user]}" for user in users]


def _preferences(
    votes: Votes, embeddings: _Embeddings, users: Sequence[int], pairs: Sequence[np.ndarray]
) -> Preferences:
    return from_arrays(embeddings, *_columns(pairs), user_ids=_user_ids(votes, users))


def _columns(pairs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chosen and rejected statement, and the user, of each user's pairs `[pairs, 2]`."""
    chosen, rejected = np.concatenate([np.zeros((0, 2), np.int32), *pairs]).T
    return chosen, rejected, np.repeat(np.arange(len(pairs)), list(map(len, pairs)))
