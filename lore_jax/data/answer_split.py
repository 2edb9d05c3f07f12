"""The 2 x 2 hold-out of answers of every kind: `four_way`, with whole answers on its sides.

An answer is cut as the pairs of its responses that stand next to each other are (a rating: as its
response with itself), and it is in a part only if all of them are. So prompts and responses are
kept apart, and users are drawn, by the one function that does so for pairs.
"""

from __future__ import annotations

import dataclasses
import re
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from lore_jax.data.feedback import Feedback
from lore_jax.data.four_way import Dropped, four_way
from lore_jax.data.groups import GroupBy
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Fold, Holdout, Users


@dataclasses.dataclass(frozen=True, eq=False)
class AnswerSplit:
    """A 2 x 2 hold-out of answers: what a `FourWay` is of pairs.

    Attributes:
        train: answers to fit on, of the seen users.
        shots: answers to adapt on, of the unseen users.
        tests: condition `(users, items)` to the test answers, users numbered as in `train` or in
            `shots`.
        rows: numbers of the answers in each part, `train`, `shots`, `test/seen/new items` and so
            on; answers are numbered through the blocks of the feedback.
        seen_users: which users of the original are the seen ones, ascending.
        unseen_users: which are the unseen ones, ascending.
        dropped: what was left out, counted in answers; what is not known to the fit is among what
            is cross-split.
        group_by: what no split cuts.
        groups: what the groups are, in words.
        digest: sha256 of who and what is where.
    """

    train: Feedback
    shots: Feedback
    tests: dict[tuple[Users, Holdout], Feedback]
    rows: dict[str, Int[np.ndarray, "answers"]]
    seen_users: Int[np.ndarray, "seen"]
    unseen_users: Int[np.ndarray, "unseen"]
    dropped: Dropped
    group_by: GroupBy
    groups: str
    digest: str
    unit: ClassVar[str] = "answers"


def split_answers(
    feedback: Feedback,
    *,
    unseen_users: float = 0.3,
    test: float = 0.3,
    group_by: GroupBy | None = None,
    items: tuple[Holdout, ...] = ("new items",),
    fold: Fold | None = None,
    min_train: int = 1,
    min_test: int = 1,
    seed: int,
) -> AnswerSplit:
    """Splits answers as `four_way` splits pairs; the arguments are its own.

    Raises:
        ValueError: fewer than 2 users have enough answers, or the groups cannot be cut.

    Example:
        >>> split = split_answers(feedback, seed=0)
        >>> split.tests["unseen", "new items"].num_users == split.shots.num_users
        True
    """
    neighbours, links = _neighbours(feedback)
    try:
        cut = four_way(
            neighbours,
            unseen_users=unseen_users,
            test=test,
            group_by=group_by,
            items=items,
            fold=fold,
            min_train=min_train,
            min_test=min_test,
            seed=seed,
        )
    except ValueError as error:
        raise ValueError(_of_answers(str(error), links)) from None
    rows = {name: _whole(row, links) for name, row in cut.rows.items()}
    user = np.concatenate([block.user for block in feedback.blocks])
    sides: dict[Users, np.ndarray] = {"seen": cut.seen_users, "unseen": cut.unseen_users}
    base: dict[Users, str] = {"seen": "train", "unseen": "shots"}
    for side, users in sides.items():
        enough = np.ones(len(users), bool)
        parts = [(base[side], min_train)]
        parts += [(name, min_test) for name in rows if name.startswith(f"test/{side}/")]
        for name, least in parts:
            enough &= np.bincount(user[rows[name]], minlength=feedback.num_users)[users] >= least
        sides[side] = users[enough]
        if not enough.any():
            raise ValueError(f"no {side} user has whole answers on both sides of the split")
    kept = np.concatenate([*sides.values()])
    rows = {name: row[np.isin(user[row], kept)] for name, row in rows.items()}
    of_kept = int(np.isin(user, kept).sum())

    def part(name: str, side: Users) -> Feedback:
        return take_answers(feedback, rows[name], sides[side])

    return AnswerSplit(
        train=part("train", "seen"),
        shots=part("shots", "unseen"),
        tests={(side, about): part(f"test/{side}/{about}", side) for side, about in cut.tests},
        rows=rows,
        seen_users=sides["seen"],
        unseen_users=sides["unseen"],
        dropped=Dropped(
            users=feedback.num_users - len(kept),
            pairs_of_users=feedback.num_answers - of_kept,
            cross_split=of_kept - sum(map(len, rows.values())),
            not_in_fit=0,
        ),
        group_by=cut.group_by,
        groups=cut.groups.replace("all pairs", "all answers"),
        digest=cut.digest,
    )


def take_answers(
    feedback: Feedback, numbers: Int[np.ndarray, "kept"], users: Int[np.ndarray, "users"]
) -> Feedback:
    """The answers with these numbers, of these users, who are renumbered in the order given.

    Example:
        >>> take_answers(feedback, np.arange(5), np.arange(3)).num_users
        3
    """
    keep = np.zeros(feedback.num_answers, bool)
    keep[numbers] = True
    stops = np.cumsum([len(block) for block in feedback.blocks])[:-1]
    return feedback.take(np.split(keep, stops)).take_users(users)


def _neighbours(feedback: Feedback) -> tuple[Preferences, Int[np.ndarray, "answers"]]:
    """Responses of an answer that stand next to each other, as pairs; and how many an answer has.

    `row` of a pair is the number of its answer.
    """
    columns, links, start = [], [np.zeros(0, np.int64)], 0
    for block in feedback.blocks:
        number = start + np.arange(len(block))
        rest = block.items[:, 1:] if block.kind.num_items > 1 else block.items
        for before, after in zip(block.items.T, rest.T, strict=False):
            columns.append(np.stack([before, after, block.user, block.prompt, number]))
        links.append(np.full(len(block), rest.shape[1]))
        start += len(block)
    pairs = np.concatenate([np.zeros((5, 0), np.int64), *columns], axis=1)
    pairs = pairs[:, np.argsort(pairs[2], kind="stable")]
    chosen, rejected, user, prompt = pairs[:4].astype(np.int32)
    return Preferences(
        embeddings=feedback.embeddings,
        chosen=chosen,
        rejected=rejected,
        user=user,
        prompt=prompt,
        pair_weight=np.ones(len(user), np.float32),
        num_users=feedback.num_users,
        user_ids=feedback.user_ids,
        row=pairs[4],
        head=None,
    ), np.concatenate(links)


def _of_answers(problem: str, links: Int[np.ndarray, "answers"]) -> str:
    """What is wrong with the split of pairs, in words of answers where each is one pair."""
    if np.any(links > 1):
        return problem + " (pairs of responses that stand next to each other in an answer)"
    return re.sub(r"\bpair(s?)\b", r"answer\1", problem)


def _whole(
    row: Int[np.ndarray, "pairs"], links: Int[np.ndarray, "answers"]
) -> Int[np.ndarray, "kept"]:
    """The answers all of whose pairs are there."""
    return np.flatnonzero(np.bincount(row, minlength=len(links)) == links)
