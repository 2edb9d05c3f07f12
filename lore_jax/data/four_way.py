"""The 2 x 2 hold-out (users x items): seen and unseen users, known and new items, in one split."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import (
    GroupBy,
    Holdout,
    Users,
    hold_out_groups,
    hold_out_within_users,
    split_users,
)


class Dropped(NamedTuple):
    """What a `FourWay` leaves out.

    Attributes:
        users: users with fewer pairs than the minimum in some part.
        pairs_of_users: all pairs of those users.
        cross_split: cross-split pairs of the users kept.
        not_in_fit: their test pairs of known items whose groups are in no training pair.
    """

    users: int
    pairs_of_users: int
    cross_split: int
    not_in_fit: int


@dataclasses.dataclass(frozen=True, eq=False)
class FourWay:
    """A 2 x 2 hold-out (users x items): up to four tests, one for each condition.

    Attributes:
        train: pairs to fit on: seen users, training groups.
        shots: pairs to adapt on, from which `draw_shots` draws: unseen users, training groups.
        tests: condition `(users, items)`, such as `("unseen", "new items")`, to the test pairs,
            users numbered as in `train` (seen) or in `shots` (unseen).
        seen_users: which users of the original are the seen ones, ascending.
        unseen_users: which are the unseen ones, ascending.
        dropped: what was left out.
        digest: the `split_digest` of both sides and all parts.
    """

    train: Preferences
    shots: Preferences
    tests: dict[tuple[Users, Holdout], Preferences]
    seen_users: Int[np.ndarray, "seen"]
    unseen_users: Int[np.ndarray, "unseen"]
    dropped: Dropped
    digest: str


def four_way(
    prefs: Preferences,
    *,
    unseen_users: float = 0.3,
    test: float = 0.3,
    group_by: GroupBy = "prompt",
    items: tuple[Holdout, ...] = ("known items", "new items"),
    min_train: int = 1,
    min_test: int = 1,
    seed: int,
) -> FourWay:
    """Splits users into seen and unseen ones, and pairs into training, known items and new items.

    New items are held out first, for all users (`hold_out_groups`); what remains is cut within each
    user (`hold_out_within_users`). A test pair is one of known items only if its groups are in a
    training pair of a seen user. Users below a minimum are dropped from every part.

    Args:
        prefs: all pairs of all users.
        unseen_users: the share of the users to hold out of the fit.
        test: the share of the groups to hold out in each of the two cuts.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
        items: the tests wanted. With ("new items",) nothing is cut within users, with
            ("known items",) nothing is held out for all users.
        min_train: users with fewer training pairs (or pairs to draw shots from) are dropped.
        min_test: users with fewer test pairs in any test are dropped.
        seed: seed of all draws.

    Returns:
        The `FourWay`.

    Raises:
        ValueError: fewer than 2 users have enough pairs, or the groups cannot be cut.

    Example:
        >>> split = four_way(prefs, group_by="prompt", seed=0)
        >>> split.tests["unseen", "known items"].num_users == split.shots.num_users
        True
    """
    if not items or len(set(items)) < len(items) or not set(items) <= {"known items", "new items"}:
        wanted = "('known items', 'new items') or one of them is expected"
        raise ValueError(f"items is {items!r}: {wanted}")
    seed_users, seed_new, seed_known = np.random.SeedSequence(seed).generate_state(3).tolist()
    fit = np.ones(prefs.num_pairs, bool)
    held_out: dict[Holdout, np.ndarray] = {}
    if "new items" in items:
        fit, held_out["new items"], _ = hold_out_groups(
            prefs, test, group_by=group_by, seed=seed_new
        )
    if "known items" in items:
        cut = hold_out_within_users(prefs.take_pairs(fit), test, group_by=group_by, seed=seed_known)
        rest, fit, known = fit, np.zeros_like(fit), np.zeros_like(fit)
        fit[rest], known[rest] = cut.train, cut.test
        held_out["known items"] = known

    def enough(tests: dict[Holdout, np.ndarray]) -> np.ndarray:
        """Whether a user has the least number of pairs in every part, bool `[users]`."""
        result = np.ones(prefs.num_users, bool)
        for part, least in [(fit, min_train), *((part, min_test) for part in tests.values())]:
            result &= np.bincount(prefs.user[part], minlength=prefs.num_users) >= least
        return result

    kept = np.flatnonzero(enough(held_out))
    wanted = f"{min_train} training pairs and {min_test} test pairs of {' and of '.join(items)}"
    if len(kept) < 2:
        got = f"{len(kept)} of {prefs.num_users} users have {wanted}"
        raise ValueError(f"{got}: at least 2 are expected")
    seen, unseen = (kept[part] for part in split_users(len(kept), unseen_users, seed=seed_users))
    # A group is known if the training of a seen user has it. A user who is dropped may take that
    # from the test pairs of others, so this goes on until nobody is dropped.
    tests = dict(held_out)
    while True:
        if "known items" in tests:
            training = fit & np.isin(prefs.user, seen)
            tests["known items"] = held_out["known items"] & _in_fit(prefs, group_by, training)
        stay = enough(tests)
        if stay[seen].all() and stay[unseen].all():
            break
        seen, unseen = seen[stay[seen]], unseen[stay[unseen]]
        if not len(seen) or not len(unseen):
            side = "unseen" if len(seen) else "seen"
            raise ValueError(f"no {side} user has {wanted}, that others' training has too")
    users: dict[Users, np.ndarray] = {"seen": seen, "unseen": unseen}
    masks = {name: np.isin(prefs.user, ids) for name, ids in users.items()}
    base = {name: prefs.take_pairs(fit & mask) for name, mask in masks.items()}
    conditions: dict[tuple[Users, Holdout], Preferences] = {}
    for name in users:
        for column in items:
            conditions[name, column] = prefs.take_pairs(tests[column] & masks[name])
    parts = [*base.values(), *conditions.values()]
    in_kept = masks["seen"] | masks["unseen"]
    not_in_fit = sum(int((held_out[name] & ~tests[name] & in_kept).sum()) for name in tests)
    return FourWay(
        train=base["seen"].take_users(seen),
        shots=base["unseen"].take_users(unseen),
        tests={key: pairs.take_users(users[key[0]]) for key, pairs in conditions.items()},
        seen_users=seen,
        unseen_users=unseen,
        dropped=Dropped(
            users=prefs.num_users - len(seen) - len(unseen),
            pairs_of_users=int((~in_kept).sum()),
            cross_split=int(in_kept.sum()) - sum(part.num_pairs for part in parts) - not_in_fit,
            not_in_fit=not_in_fit,
        ),
        digest=split_digest([seen, unseen], parts),
    )


def _in_fit(
    prefs: Preferences, group_by: GroupBy, fit: Bool[np.ndarray, "pairs"]
) -> Bool[np.ndarray, "pairs"]:
    """Whether all groups of a pair are in a pair of `fit`."""
    if group_by == "prompt":
        return np.isin(prefs.prompt, prefs.prompt[fit])
    seen = np.concatenate([prefs.chosen[fit], prefs.rejected[fit]])
    return np.isin(prefs.chosen, seen) & np.isin(prefs.rejected, seen)


def split_digest(users: Sequence[Int[np.ndarray, "..."]], parts: Sequence[Preferences]) -> str:
    """Hashes the users and the pairs of each part; the order of the caller's pairs does not matter.

    Args:
        users: ids of the users on each side.
        parts: the pairs of each part, users, prompts and responses numbered alike in all.

    Returns:
        A sha256 in hexadecimal digits.

    Example:
        >>> len(split_digest([split.seen_users, split.unseen_users], [split.train, split.shots]))
        64
    """
    lists = [np.array([len(users), len(parts)]), *users]
    for part in parts:
        pairs = np.stack([part.user, part.prompt, part.chosen, part.rejected], axis=1)
        lists.append(pairs[np.lexsort(pairs.T)])
    digest = hashlib.sha256()
    for entries in lists:
        for array in (np.array(len(entries)), entries):
            digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()
