"""Splits without leaks: seen and unseen users, known and new items, folds, draws of a few shots.

A *group* is what a test must not share with training (`data/groups.py`): a prompt, or, where all
pairs answer one prompt, a response. Two tests need two cuts:

- new items: each group is on one side for all users (`hold_out_groups`);
- known items: each user's own groups are cut, and other users may have judged the same ones in
  training (`hold_out_within_users`).

A pair is *cross-split* if its two responses are on different sides. Such pairs are dropped and
counted, never assigned. A hold-out of single pairs would measure memory instead: both responses of
a test pair would stay in training, in other pairs of the same user.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lore_jax.data.groups import (
    WAYS,
    GroupBy,
    Groups,
    Way,
    balanced_parts,
    draw_parts,
    find_groups,
    has_groups,
    rank_within,
    way_of,
)
from lore_jax.data.preferences import Preferences

Holdout = Literal["new items", "known items"]
Users = Literal["seen", "unseen"]
Fold = tuple[int, int]  # (k, count): the k-th of count tests, counted from 0, that do not overlap

_GROUPS_A_FOLD = 3  # fewer make a fold's mean that of one or two prompts
_MOST_CUT = 0.5  # of the pairs: more is lost than by other groups


class Cut(NamedTuple):
    """Preferences in two parts.

    Attributes:
        train: the training pairs, bool `[pairs]`.
        test: the test pairs, bool `[pairs]`; no pair is in both.
        dropped: how many pairs are in neither, because they are cross-split.
    """

    train: Bool[np.ndarray, "pairs"]
    test: Bool[np.ndarray, "pairs"]
    dropped: int


def split_users(
    num_users: int, unseen: float | Fold, *, seed: int
) -> tuple[Int[np.ndarray, "seen"], Int[np.ndarray, "unseen"]]:
    """Draws which users are held out of the fit.

    Args:
        num_users: the number of users, at least 2.
        unseen: the share to hold out, between 0 and 1; at least 1 user is on each side. Or a fold
            `(k, count)`: in the folds of one seed each user is held out once.
        seed: seed of the draw.

    Returns:
        Seen and unseen user ids, each ascending.

    Raises:
        ValueError: fewer than 2 users (or fewer than folds), or a share outside `(0, 1)`.

    Example:
        >>> seen, unseen = split_users(10, 0.3, seed=0)
        >>> len(seen), len(unseen)
        (7, 3)
    """
    least = 2
    if isinstance(unseen, tuple):
        check_fold(unseen)
        least = unseen[1]
    else:
        _check_fraction("unseen", unseen)
    if num_users < least:
        problem = f"{num_users} users cannot be split into seen and unseen ones"
        raise ValueError(f"{problem}: at least {least} are expected")
    order = np.random.default_rng(seed).permutation(num_users)
    if isinstance(unseen, tuple):
        drawn = order[unseen[0] :: unseen[1]]
    else:
        drawn = order[: _at_least_one(unseen, num_users)]
    is_unseen = np.isin(np.arange(num_users), drawn)
    return np.flatnonzero(~is_unseen), np.flatnonzero(is_unseen)


def hold_out_groups(
    prefs: Preferences,
    fraction: float,
    *,
    group_by: GroupBy | Way = "prompt",
    least: tuple[int, int] = (1, 1),
    seed: int,
) -> Cut:
    """Cuts pairs so that no group, and no response, is on both sides: the test of new items.

    With `group_by="prompt"`, a response to prompts of both sides goes where most of its pairs are.

    Args:
        prefs: any preferences.
        fraction: the share of the groups to hold out, between 0 and 1; at least 1 is on each side.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
        least: pairs that users should keep in training and test, where sides are searched for.
        seed: seed of the draw.

    Returns:
        The `Cut`.

    Raises:
        ValueError: fewer than 2 groups, a share outside `(0, 1)`, or no pair is left on one side.

    Example:
        >>> cut = hold_out_groups(prefs, 0.3, seed=0)
        >>> train, test = prefs.take_pairs(cut.train), prefs.take_pairs(cut.test)
        >>> set(train.prompt) & set(test.prompt)
        set()
    """
    _check_fraction("fraction", fraction)
    way = way_of(group_by)
    groups = find_groups(prefs, way, own=False)
    if way.balanced:
        held_out = _balanced(prefs, groups, fraction, least, seed)
    else:
        rank = np.random.default_rng(seed).permutation(groups.count)
        held_out = rank < _at_least_one(fraction, groups.count)
    return _checked(_cut(groups, held_out), groups, f"holding out {fraction:g} of")


def hold_out_within_users(
    prefs: Preferences,
    fraction: float,
    *,
    group_by: GroupBy | Way = "prompt",
    least: tuple[int, int] = (1, 1),
    seed: int,
) -> Cut:
    """Cuts each user's own groups, and none is on both sides for one user: the test of known items.

    Other users may have judged a user's test groups in training.

    Args:
        prefs: any preferences.
        fraction: the share of each user's groups to hold out, between 0 and 1, rounded for each
            user: a single group stays in training below 1/2.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
        least: pairs that users should keep in training and test, where sides are searched for.
        seed: seed of the draw.

    Returns:
        The `Cut`.

    Raises:
        ValueError: no user has 2 groups, a share outside `(0, 1)`, or no pair is left on one side.

    Example:
        >>> cut = hold_out_within_users(prefs, 0.25, seed=0)
        >>> bool((cut.train & cut.test).any())
        False
    """
    _check_fraction("fraction", fraction)
    way = way_of(group_by)
    groups = find_groups(prefs, way, own=True)
    if way.balanced:
        held_out = _balanced(prefs, groups, fraction, least, seed)
    else:
        held_out_of_user = np.rint(fraction * np.bincount(groups.owner))
        rank = rank_within(groups.owner, np.random.default_rng(seed))
        held_out = rank < held_out_of_user[groups.owner]
    return _checked(_cut(groups, held_out), groups, f"holding out {fraction:g} of")


def folds(
    prefs: Preferences,
    count: int,
    *,
    holdout: Holdout = "new items",
    group_by: GroupBy | Way | None = None,
    seed: int,
) -> list[Cut]:
    """Cuts for validation: each group is in the test part of exactly one fold.

    With `holdout="new items"` all users share the groups (`hold_out_groups`), with
    `holdout="known items"` each user has their own (`hold_out_within_users`). Each fold drops its
    own cross-split pairs.

    Args:
        prefs: any preferences.
        count: the number of folds, at least 2.
        holdout: whether the validation pairs are on new items, or on known ones.
        group_by: "prompt", or "response" where prompts are few and judged by everybody; None: the
            first of `WAYS` that has three groups a fold, none of them larger than a fold, and
            tests half of the pairs, else responses.
        seed: seed of the draw.

    Returns:
        `count` cuts.

    Raises:
        ValueError: fewer groups than folds, an unknown `holdout`, or a fold with an empty side.

    Example:
        >>> for cut in folds(prefs, 5, seed=0):
        ...     train, validation = prefs.take_pairs(cut.train), prefs.take_pairs(cut.test)
    """
    _check_choice("holdout", holdout, ("new items", "known items"))
    if count < 2:
        raise ValueError(f"count is {count}: 2 folds or more are expected")
    own = holdout == "known items"
    if group_by is not None:
        return _folds(prefs, count, way_of(group_by), own=own, seed=seed)
    for way in WAYS[:-1]:
        if not has_groups(prefs, way, _GROUPS_A_FOLD * count, own=own):
            continue
        try:
            cuts = _folds(prefs, count, way, own=own, seed=seed)
        except ValueError:
            continue
        if sum(int(cut.test.sum()) for cut in cuts) >= (1 - _MOST_CUT) * prefs.num_pairs:
            return cuts
    return _folds(prefs, count, WAYS[-1], own=own, seed=seed)


def _folds(prefs: Preferences, count: int, way: Way, *, own: bool, seed: int) -> list[Cut]:
    groups = find_groups(prefs, way, own=own)
    if groups.count < count:
        raise ValueError(f"{groups.count} {groups.name} cannot fill {count} folds")
    if way.balanced:
        fold = balanced_parts(prefs, groups, [1 / count] * count, seed=seed)
    else:
        fold = draw_parts(groups, count, seed=seed)
    cuts = [_cut(groups, fold == k) for k in range(count)]
    return [_checked(cut, groups, f"fold {k} of {count} over") for k, cut in enumerate(cuts)]


def draw_shots(prefs: Preferences, shots: int, *, seed: int) -> Preferences:
    """At most `shots` random pairs of each user; a user with fewer gives all of them.

    Draws of one seed are nested: the 5 shots of a user are among the 10.

    Args:
        prefs: any preferences.
        shots: the most pairs of a user, 0 or more.
        seed: seed of the draw.

    Returns:
        The drawn pairs; table and users stay as they are.

    Raises:
        ValueError: `shots` or `seed` is negative.

    Example:
        >>> bool((draw_shots(prefs, 3, seed=0).pairs_per_user() <= 3).all())
        True
    """
    if shots < 0:
        raise ValueError(f"shots is {shots}: 0 or more is expected")
    if seed < 0:
        raise ValueError(f"seed is {seed}: 0 or more is expected")
    return prefs.take_pairs(rank_within(prefs.user, np.random.default_rng(seed)) < shots)


def draw_prompts(prefs: Preferences, prompts: int, *, seed: int) -> Preferences:
    """All pairs on at most `prompts` random prompts of each user: shots counted in dialogues.

    Draws of one seed are nested: the pairs on 1 prompt of a user are among those on 2.

    Args:
        prefs: any preferences.
        prompts: the most prompts of a user, 0 or more.
        seed: seed of the draw.

    Returns:
        The drawn pairs; table and users stay as they are.

    Raises:
        ValueError: `prompts` is negative.

    Example:
        >>> drawn = draw_prompts(prefs, 3, seed=0)
        >>> len(set(drawn.prompt[drawn.user == 0])) <= 3
        True
    """
    if prompts < 0:
        raise ValueError(f"prompts is {prompts}: 0 or more is expected")
    span = int(prefs.prompt.max(initial=0)) + 1
    keys, index = np.unique(prefs.user.astype(np.int64) * span + prefs.prompt, return_inverse=True)
    rank = rank_within(keys // span, np.random.default_rng(seed))
    return prefs.take_pairs(rank[index] < prompts)


def _balanced(
    prefs: Preferences, groups: Groups, fraction: float, least: tuple[int, int], seed: int
) -> Bool[np.ndarray, "groups"]:
    """Which groups are held out, where sides are searched for."""
    shares = (1 - fraction, fraction)
    return balanced_parts(prefs, groups, shares, least=least, seed=seed) == 1


def _cut(groups: Groups, held_out: Bool[np.ndarray, "groups"]) -> Cut:
    in_held_out = held_out[groups.index]
    test, train = np.asarray(in_held_out.all(axis=1)), np.asarray(~in_held_out.any(axis=1))
    # Prompts of both sides may share a response. It goes where most of its pairs are; its other
    # pairs are cross-split.
    sides = np.repeat(test.astype(np.int8) - train.astype(np.int8), 2)
    votes = np.bincount(groups.responses.ravel(), weights=sides)
    in_test = votes[groups.responses] > 0
    test, train = np.asarray(test & in_test.all(axis=1)), np.asarray(train & ~in_test.any(axis=1))
    return Cut(train, test, len(test) - int(test.sum()) - int(train.sum()))


def _checked(cut: Cut, groups: Groups, what: str) -> Cut:
    for name, part in (("training", cut.train), ("test", cut.test)):
        if not part.any():
            reason = f"{cut.dropped} of {len(part)} pairs are cross-split"
            raise ValueError(f"{what} {groups.count} {groups.name} leaves no {name} pair: {reason}")
    return cut


def _at_least_one(fraction: float, count: int) -> int:
    return min(max(1, round(fraction * count)), count - 1)


def _check_fraction(name: str, fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"{name} is {fraction}: a share between 0 and 1 is expected")


def check_fold(fold: Fold) -> None:
    """Refuses a fold that is not one of two or more."""
    if len(fold) != 2 or fold[1] < 2 or not 0 <= fold[0] < fold[1]:
        raise ValueError(f"fold is {fold}: (k, count) with 0 <= k < count and 2 folds or more")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: {' or '.join(map(repr, choices))} is expected")
