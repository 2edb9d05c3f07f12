"""Feedback: what people say beyond "A rather than B", over the one table of responses.

An answer says who, on which responses, and what: a pair, a pair that may be a tie, a strength in
ordered levels, a ranking or a choice of some with the rest unordered, a best-worst choice, or a
rating (a vote has two or three levels). Answers of one kind and shape are one block of arrays, so
that ragged answers are rectangular; a response is a row number of the table, as in `Preferences`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Int, Shaped

from lore_jax.data.answer_kinds import Kind, KindName
from lore_jax.data.checks import check_head, check_pair_weight, check_table, check_user_ids, refuse


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """Answers of one kind; made by `answers` and `rankings`, checked by `from_answers`.

    Attributes:
        kind: what they say.
        items: rows of the responses, int32 `[answers, num_items]`.
        outcome: the level, from 0; 1 for pairs, 0 where the order of `items` says all,
            int32 `[answers]`.
        user: who answered, int32 `[answers]`; ascending in a `Feedback`.
        prompt: what the responses answer, int32 `[answers]`.
        weight: how much an answer counts, float32 `[answers]`.
        row: where each stood in the arrays given, int64 `[answers]`.
    """

    kind: Kind
    items: Int[np.ndarray, "answers items"]
    outcome: Int[np.ndarray, "answers"]
    user: Int[np.ndarray, "answers"]
    prompt: Int[np.ndarray, "answers"]
    weight: Float[np.ndarray, "answers"]
    row: Int[np.ndarray, "answers"]

    def __len__(self) -> int:
        """The number of answers."""
        return len(self.user)

    def take(self, keep: Bool[np.ndarray, "answers"] | Int[np.ndarray, "kept"]) -> Answers:
        """The answers in `keep`, a mask or positions, in that order."""
        names = ("items", "outcome", "user", "prompt", "weight", "row")
        return dataclasses.replace(self, **{name: getattr(self, name)[keep] for name in names})


@dataclasses.dataclass(frozen=True, eq=False)
class Feedback:
    """Answers of many kinds by many users over one table; made by `from_answers`.

    Attributes:
        embeddings: the table, `[responses, dim]`.
        blocks: answers of one kind each, sorted by user.
        num_users: the number of users, those without any answer included.
        user_ids: the users' names `[num_users]`, or None.
        head: the reference head `[dim]`, or None.
        encoder: what made the embeddings (`encoder_identity.py`); None: nobody knows.
    """

    embeddings: Float[np.ndarray | Array, "responses dim"]
    blocks: tuple[Answers, ...]
    num_users: int
    user_ids: Shaped[np.ndarray, "users"] | None
    head: Float[np.ndarray, "dim"] | None
    encoder: str | None = None

    def __repr__(self) -> str:
        """What is understood, in one line."""
        kinds = ", ".join(f"{len(block):,} {block.kind}" for block in self.blocks) or "no answers"
        return f"{kinds} of {self.num_users:,} users on {self.num_responses:,} responses"

    @property
    def num_responses(self) -> int:
        """The number of rows of the table."""
        return self.embeddings.shape[0]

    @property
    def num_answers(self) -> int:
        """The number of answers of all kinds."""
        return sum(map(len, self.blocks))

    @property
    def has_ratings(self) -> bool:
        """Whether some answers rate a response by itself: users then have intercepts."""
        return any(block.kind.name == "rating" for block in self.blocks)

    def answers_per_user(self) -> Int[np.ndarray, "users"]:
        """The number of answers of each user, int64 `[num_users]`."""
        none = np.zeros(self.num_users, np.int64)
        return sum((np.bincount(b.user, minlength=self.num_users) for b in self.blocks), none)

    def take(self, keep: Sequence[Bool[np.ndarray, "_answers"]]) -> Feedback:
        """The answers that the mask of each block keeps; table and users stay."""
        taken = (block.take(mask) for block, mask in zip(self.blocks, keep, strict=True))
        return dataclasses.replace(self, blocks=tuple(block for block in taken if len(block)))

    def take_kinds(self, *names: KindName) -> Feedback:
        """The answers of some kinds alone."""
        return self.take([np.full(len(b), b.kind.name in names) for b in self.blocks])

    def take_users(self, users: Int[np.ndarray, "users"]) -> Feedback:
        """The answers of `users` (distinct ids), renumbered from 0 in the order given."""
        new_id = np.full(self.num_users, -1, np.int32)
        new_id[users] = np.arange(len(users), dtype=np.int32)
        blocks = []
        for block in self.blocks:
            user = new_id[block.user]
            index = np.flatnonzero(user >= 0)
            index = index[np.argsort(user[index], kind="stable")]
            if len(index):
                blocks.append(dataclasses.replace(block.take(index), user=user[index]))
        names = None if self.user_ids is None else self.user_ids[users]
        return dataclasses.replace(self, blocks=tuple(blocks), num_users=len(users), user_ids=names)


def answers(
    kind: Kind,
    items: npt.ArrayLike,
    user: npt.ArrayLike,
    *,
    outcome: npt.ArrayLike | None = None,
    prompt: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
) -> Answers:
    """Answers of one kind from arrays.

    Args:
        kind: what they say.
        items: rows of the responses, integer `[answers, num_items]`, or `[answers]` for ratings.
        user: who answered, integer `[answers]`.
        outcome: the level, integer `[answers]` from 0; None for pairs, rankings and best-worst.
        prompt: what the responses answer, integer `[answers]`; None: all answer one prompt.
        weight: how much an answer counts, `[answers]`; None: 1 each.

    Returns:
        The answers, checked in themselves; `from_answers` checks them against a table.

    Raises:
        ValueError: an array is not what it should be; the message names the first bad entry.

    Example:
        >>> five = Kind("strength", 2, levels=5)
        >>> len(answers(five, items=[[0, 1], [2, 1]], user=[0, 0], outcome=[4, 2]))
        2

    """
    rows = _integers("items", items)
    rows = rows[:, None] if rows.ndim == 1 and kind.num_items == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != kind.num_items:
        expected = f"[answers, {kind.num_items}] is expected of {kind}"
        raise ValueError(f"items has shape {rows.shape}: {expected}")
    count = len(rows)
    by_level = kind.levels > 0 and kind.name != "pair"
    if by_level != (outcome is not None):
        raise ValueError(
            f"outcome is {'missing' if by_level else 'given'}: {kind} "
            f"{'need one' if by_level else 'have none, the order of items says all'}"
        )
    said = np.full(count, int(kind.name == "pair")) if outcome is None else outcome
    columns = {
        "user": _integers("user", user),
        "outcome": _integers("outcome", said),
        "prompt": np.zeros(count, np.int32) if prompt is None else _integers("prompt", prompt),
    }
    for name, value in columns.items():
        if value.shape != (count,):
            raise ValueError(f"{name} has shape {value.shape}: [{count}], one entry an answer")
    for name, value in {"items": rows, **columns}.items():
        beyond = ((value < -(2**31)) | (value >= 2**31)).reshape(count, -1).any(axis=1)
        refuse(beyond, name + " is {} in answer {}: numbers of 32 bits are expected", value)
    if kind.levels:
        outside = (columns["outcome"] < 0) | (columns["outcome"] >= kind.levels)
        message = f"outcome is {{}} in answer {{}}, outside 0 .. {kind.levels - 1} of {kind}"
        refuse(outside, message, columns["outcome"])
    ordered = np.sort(rows, axis=1)
    repeated = np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)
    refuse(repeated, "items are {} in answer {}: responses must differ", rows)
    return Answers(
        kind,
        rows.astype(np.int32),
        **{name: value.astype(np.int32) for name, value in columns.items()},
        weight=check_pair_weight(weight, count, np.arange(count)),
        row=np.arange(count, dtype=np.int64),
    )


def rankings(
    items: Sequence[Sequence[int]],
    user: npt.ArrayLike,
    *,
    places: int | None = None,
    prompt: npt.ArrayLike | None = None,
    weight: npt.ArrayLike | None = None,
) -> list[Answers]:
    """Rankings of any lengths, best first, as blocks of one length each.

    Args:
        items: rows of the responses of each answer.
        user: who answered, integer `[answers]`.
        places: how many first places were said; 1: choices. None: the whole order.
        prompt: integer `[answers]`, or None.
        weight: `[answers]`, or None.

    Returns:
        One `Answers` for each length that occurs, the shortest first.

    Raises:
        ValueError: as `answers`, or a ranking of one response.

    Example:
        >>> [str(block.kind) for block in rankings([[0, 1, 2], [3, 1], [2, 0]], user=[0, 0, 1])]
        ['rankings of 2', 'rankings of 3']
    """
    lengths = np.array([len(row) for row in items], np.int64)
    refuse(lengths < 2, "a ranking of {} responses in answer {}: 2 or more are expected", lengths)
    given = {"user": np.asarray(user), "prompt": prompt, "weight": weight}
    blocks = []
    for length in np.unique(lengths):
        index = np.flatnonzero(lengths == length)
        said = min(places or int(length) - 1, int(length) - 1)
        own = {
            name: None if value is None else np.asarray(value)[index]
            for name, value in given.items()
        }
        rows = [items[number] for number in index.tolist()]
        block = answers(Kind("ranking", int(length), places=said), rows, **own)  # pyright: ignore[reportArgumentType]
        blocks.append(dataclasses.replace(block, row=index))
    return blocks


def from_answers(
    embeddings: npt.ArrayLike,
    blocks: Sequence[Answers],
    *,
    num_users: int | None = None,
    user_ids: npt.ArrayLike | None = None,
    head: npt.ArrayLike | None = None,
) -> Feedback:
    """Checks a table and answers and makes `Feedback` of them, sorted by user.

    Args:
        embeddings: one row a response, `[responses, dim]`, float16, bfloat16 or float32, finite.
        blocks: answers, each of one kind; blocks of one kind are joined.
        num_users: the number of users; None: of `user_ids`, else the largest `user` plus one.
        user_ids: names of the users `[num_users]`, distinct.
        head: the reference head `[dim]`.

    Returns:
        The checked `Feedback`.

    Raises:
        ValueError: an argument is not what it should be; the message names the first bad entry.

    Example:
        >>> table = np.eye(3, dtype=np.float32)
        >>> stars = answers(Kind("rating", 1, levels=5), [0, 2], user=[0, 1], outcome=[4, 0])
        >>> from_answers(table, [stars, *rankings([[2, 0, 1]], user=[1])])
        1 rankings of 3, 2 ratings 1-5 of 2 users on 3 responses
    """
    table = check_table(embeddings)
    names = None if user_ids is None else check_user_ids(np.asarray(user_ids), num_users)
    if num_users is None:
        largest = max((int(block.user.max()) for block in blocks if len(block)), default=-1)
        num_users = len(names) if names is not None else largest + 1
    joined: dict[Kind, list[Answers]] = {}
    for block in blocks:
        outside = np.any((block.items < 0) | (block.items >= table.shape[0]), axis=1)
        where = f"outside a table of {table.shape[0]} responses"
        refuse(outside, "items are {} in answer {}, " + f"{where} ({block.kind})", block.items)
        wrong = (block.user < 0) | (block.user >= num_users)
        refuse(wrong, f"user is {{}} in answer {{}}, outside {num_users} users", block.user)
        joined.setdefault(block.kind, []).append(block)
    parts = [_join(same) for _, same in sorted(joined.items(), key=lambda item: str(item[0]))]
    return Feedback(
        table,
        tuple(part for part in parts if len(part)),
        num_users,
        names,
        check_head(head, table.shape[1]),
    )


def _join(blocks: Sequence[Answers]) -> Answers:
    names = ("items", "outcome", "user", "prompt", "weight", "row")
    columns = {name: np.concatenate([getattr(b, name) for b in blocks]) for name in names}
    order = np.argsort(columns["user"], kind="stable")
    return Answers(blocks[0].kind, **{name: value[order] for name, value in columns.items()})


def _integers(name: str, value: npt.ArrayLike) -> Int[np.ndarray, "..."]:
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is ragged: rows of equal length are expected") from None
    if array.size == 0:
        return array.astype(np.int32)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has dtype {array.dtype}: integers are expected")
    return array
