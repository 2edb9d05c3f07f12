"""The 2 x 2 hold-out (users x items): seen and unseen users, known and new items, in one split.

What a split must not cut is found by trying `WAYS` (`data/groups.py`) in order: the first that
keeps most users and pairs is taken, else the one that keeps most.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lore_jax.data.groups import WAYS, GroupBy, Way, describe_groups, has_groups, way_of
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import (
    Cut,
    Fold,
    Holdout,
    Users,
    check_fold,
    folds,
    hold_out_groups,
    hold_out_within_users,
    split_users,
)

_GROUPS = 20  # fewer, and a test is of a handful of prompts
ENOUGH = 0.6  # of the users with pairs, and of the pairs that are not cross-split
_MOST_CUT = 0.5  # of the pairs
_BETTER = 1.1  # times what a more natural way keeps


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
        group_by: what no split cuts.
        groups: what the groups are, in words.
        digest: the `split_digest` of both sides and all parts.
    """

    train: Preferences
    shots: Preferences
    tests: dict[tuple[Users, Holdout], Preferences]
    seen_users: Int[np.ndarray, "seen"]
    unseen_users: Int[np.ndarray, "unseen"]
    dropped: Dropped
    group_by: GroupBy
    groups: str
    digest: str
    unit: ClassVar[str] = "pairs"

    @property
    def rows(self) -> dict[str, Int[np.ndarray, "pairs"]]:
        """The `row` of the pairs in each part: `train`, `shots`, `test/seen/new items`, ..."""
        tests = {f"test/{users}/{items}": part for (users, items), part in self.tests.items()}
        return {
            name: part.row
            for name, part in {"train": self.train, "shots": self.shots, **tests}.items()
        }


def four_way(
    prefs: Preferences,
    *,
    unseen_users: float = 0.3,
    test: float = 0.3,
    group_by: GroupBy | None = None,
    items: tuple[Holdout, ...] = ("new items",),
    fold: Fold | None = None,
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
        group_by: "prompt", or "response" where prompts are few and judged by everybody. None: of
            `WAYS` the first that keeps 60 % of the users and of the pairs that are not cross-split,
            and half of all pairs; if none does, the one that keeps most.
        items: the tests wanted. With ("new items",) nothing is cut within users, with
            ("known items",) nothing is held out for all users; both cost pairs and users twice.
        fold: `(k, count)` instead of the shares, with one kind of test: over the folds of one seed,
            each group is tested once, and each user is unseen once (unless dropped there).
        min_train: users with fewer training pairs (or pairs to draw shots from) are dropped.
        min_test: users with fewer test pairs in any test are dropped.
        seed: seed of all draws.

    Returns:
        The `FourWay`.

    Raises:
        ValueError: fewer than 2 users have enough pairs, or the groups cannot be cut.

    Example:
        >>> split = four_way(prefs, seed=0)
        >>> split.tests["unseen", "new items"].num_users == split.shots.num_users
        True
    """
    if not items or len(set(items)) < len(items) or not set(items) <= {"known items", "new items"}:
        wanted = "('known items', 'new items') or one of them is expected"
        raise ValueError(f"items is {items!r}: {wanted}")
    for name, share in (("unseen_users", unseen_users), ("test", test)):
        if fold is None and not 0 < share < 1:
            raise ValueError(f"{name} is {share}: a share between 0 and 1 is expected")
    for name, least in (("min_train", min_train), ("min_test", min_test), ("seed", seed)):
        if least < 0:
            raise ValueError(f"{name} is {least}: 0 or more is expected")
    if fold is not None:
        check_fold(fold)
        if len(items) > 1:
            raise ValueError(f"fold is {fold} with two kinds of test: one kind is expected")
    wanted = _Wanted(unseen_users, test, items, fold, min_train, min_test, seed)
    if group_by is not None:
        return _split(prefs, way_of(group_by), wanted)
    if fold is None:
        return _best_split(prefs, wanted)[1]
    # Folds of one seed belong together: the first one chooses for all.
    way, _ = _best_split(prefs, wanted._replace(fold=(0, fold[1])))
    return _split(prefs, way, wanted)


class _Wanted(NamedTuple):
    """The arguments of `four_way`."""

    unseen_users: float
    test: float
    items: tuple[Holdout, ...]
    fold: Fold | None
    min_train: int
    min_test: int
    seed: int


def _best_split(prefs: Preferences, wanted: _Wanted) -> tuple[Way, FourWay]:
    """The split by the first of `WAYS` that keeps enough, or by the one that keeps most."""
    tried: list[tuple[float, Way, FourWay]] = []
    own, problem = wanted.items == ("known items",), ""
    for way in WAYS:
        if way.group_by == "prompt" and not has_groups(prefs, way, _GROUPS, own=own):
            continue
        try:
            split = _split(prefs, way, wanted)
        except ValueError as error:
            problem = str(error)
            continue
        kept = _kept(prefs, split)
        if kept >= ENOUGH and split.dropped.cross_split <= _MOST_CUT * prefs.num_pairs:
            return way, split
        tried.append((kept, way, split))
    if not tried:
        raise ValueError(problem)
    best = tried[0]
    for one in tried[1:]:
        if one[0] > _BETTER * best[0]:  # a more natural way is worth a few users
            best = one
    return best[1:]


def _kept(prefs: Preferences, split: FourWay) -> float:
    """The smaller one of the shares kept of users (with pairs) and of pairs (not cross-split)."""
    users = np.concatenate([split.seen_users, split.unseen_users])
    with_pairs = np.flatnonzero(prefs.pairs_per_user())
    lost = split.dropped.pairs_of_users + split.dropped.not_in_fit
    of_pairs = 1 - lost / (prefs.num_pairs - split.dropped.cross_split)
    return min(len(users) / len(with_pairs), of_pairs)


def _hold_out(prefs: Preferences, holdout: Holdout, way: Way, wanted: _Wanted, *, seed: int) -> Cut:
    if wanted.fold is not None:
        k, count = wanted.fold
        return folds(prefs, count, holdout=holdout, group_by=way, seed=seed)[k]
    hold_out = hold_out_groups if holdout == "new items" else hold_out_within_users
    least = wanted.min_train, wanted.min_test
    return hold_out(prefs, wanted.test, group_by=way, least=least, seed=seed)


def _split(prefs: Preferences, way: Way, wanted: _Wanted) -> FourWay:
    items, min_train, min_test = wanted.items, wanted.min_train, wanted.min_test
    seed_users, seed_new, seed_known = (
        np.random.SeedSequence(wanted.seed).generate_state(3).tolist()
    )
    fit = np.ones(prefs.num_pairs, bool)
    held_out: dict[Holdout, np.ndarray] = {}
    if "new items" in items:
        fit, held_out["new items"], _ = _hold_out(prefs, "new items", way, wanted, seed=seed_new)
    if "known items" in items:
        remaining = prefs.take_pairs(fit)
        cut = _hold_out(remaining, "known items", way, wanted, seed=seed_known)
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
    least = f"{min_train} training pairs and {min_test} test pairs of {' and of '.join(items)}"
    if len(kept) < 2:
        got = f"{len(kept)} of {prefs.num_users} users have {least}"
        raise ValueError(f"{got}: at least 2 are expected")
    if wanted.fold is None:
        sides = split_users(len(kept), wanted.unseen_users, seed=seed_users)
        seen, unseen = (kept[side] for side in sides)
    else:  # of all users, so that each is unseen in one fold
        sides = split_users(prefs.num_users, wanted.fold, seed=seed_users)
        seen, unseen = (np.intersect1d(side, kept) for side in sides)
        if not len(seen) or not len(unseen):
            raise ValueError(
                f"fold {wanted.fold} has {len(seen)} seen and {len(unseen)} unseen users"
            )
    # A group is known if the training of a seen user has it. A user who is dropped may take that
    # from the test pairs of others, so this goes on until nobody is dropped.
    tests = dict(held_out)
    while True:
        if "known items" in tests:
            training = fit & np.isin(prefs.user, seen)
            tests["known items"] = held_out["known items"] & _in_fit(prefs, way.group_by, training)
        stay = enough(tests)
        if stay[seen].all() and stay[unseen].all():
            break
        seen, unseen = seen[stay[seen]], unseen[stay[unseen]]
        if not len(seen) or not len(unseen):
            side = "unseen" if len(seen) else "seen"
            nobody = f"no {side} user has {least}, that others' training has too"
            raise ValueError(_nothing_known(prefs) or nobody)
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
        group_by=way.group_by,
        groups=describe_groups(prefs, way),
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


def _nothing_known(prefs: Preferences) -> str:
    """What to do where nobody's prompts or responses are another's, or nothing."""
    responses = np.concatenate([prefs.chosen, prefs.rejected])
    for user, items in ((prefs.user, prefs.prompt), (np.tile(prefs.user, 2), responses)):
        of_users = np.unique(np.stack([user, items], axis=1), axis=0)
        if len(of_users) > len(np.unique(items)):
            return ""
    return (
        "no two users share a prompt or a response, so that no items are known: a test of new "
        "items (--split.items 'new items') is possible"
    )


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
