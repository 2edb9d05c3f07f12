"""Splits without leaks: seen and unseen users, known and new items, folds, draws of a few shots.

A *group* is what a test must not share with training (as in GroupKFold): a prompt, or, where all
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

from lore_jax.data.preferences import Preferences

GroupBy = Literal["prompt", "response"]
Holdout = Literal["new items", "known items"]
Users = Literal["seen", "unseen"]


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
    num_users: int, unseen: float, *, seed: int
) -> tuple[Int[np.ndarray, "seen"], Int[np.ndarray, "unseen"]]:
    """Draws which users are held out of the fit.

    Args:
        num_users: the number of users, at least 2.
        unseen: the share to hold out, between 0 and 1; at least 1 user is on each side.
        seed: seed of the draw.

    Returns:
        Seen and unseen user ids, each ascending.

    Raises:
        ValueError: fewer than 2 users, or a share outside `(0, 1)`.

    Example:
        >>> seen, unseen = split_users(10, 0.3, seed=0)
        >>> len(seen), len(unseen)
        (7, 3)
    """
    _check_fraction("unseen", unseen)
    if num_users < 2:
        problem = f"{num_users} users cannot be split into seen and unseen ones"
        raise ValueError(f"{problem}: at least 2 are expected")
    drawn = np.random.default_rng(seed).permutation(num_users)[: _at_least_one(unseen, num_users)]
    is_unseen = np.isin(np.arange(num_users), drawn)
    return np.flatnonzero(~is_unseen), np.flatnonzero(is_unseen)


def hold_out_groups(
    prefs: Preferences, fraction: float, *, group_by: GroupBy = "prompt", seed: int
) -> Cut:
    """Cuts pairs so that no group, and no response, is on both sides: the test of new items.

    With `group_by="prompt"`, a response to prompts of both sides goes where most of its pairs are.

    Args:
        prefs: any preferences.
        fraction: the share of the groups to hold out, between 0 and 1; at least 1 is on each side.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
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
    groups = _groups(prefs, group_by, own=False)
    rank = np.random.default_rng(seed).permutation(groups.count)
    held_out = rank < _at_least_one(fraction, groups.count)
    return _checked(_cut(groups, held_out), groups, f"holding out {fraction:g} of")


def hold_out_within_users(
    prefs: Preferences, fraction: float, *, group_by: GroupBy = "prompt", seed: int
) -> Cut:
    """Cuts each user's own groups, and none is on both sides for one user: the test of known items.

    Other users may have judged a user's test groups in training.

    Args:
        prefs: any preferences.
        fraction: the share of each user's groups to hold out, between 0 and 1, rounded for each
            user: a single group stays in training below 1/2.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
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
    groups = _groups(prefs, group_by, own=True)
    held_out_of_user = np.rint(fraction * np.bincount(groups.owner))
    rank = _rank_within(groups.owner, np.random.default_rng(seed))
    held_out = rank < held_out_of_user[groups.owner]
    return _checked(_cut(groups, held_out), groups, f"holding out {fraction:g} of")


def folds(
    prefs: Preferences,
    count: int,
    *,
    holdout: Holdout = "new items",
    group_by: GroupBy = "prompt",
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
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
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
    groups = _groups(prefs, group_by, own=holdout == "known items")
    if groups.count < count:
        raise ValueError(f"{groups.count} {groups.name} cannot fill {count} folds")
    rng = np.random.default_rng(seed)
    rank = _rank_within(groups.owner, rng)
    # Each user's first group is in a random fold: otherwise the first folds would test all of the
    # users who have few groups.
    first_fold = rng.integers(count, size=groups.owner.max() + 1)
    fold = (rank + first_fold[groups.owner]) % count
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
        ValueError: `shots` is negative.

    Example:
        >>> bool((draw_shots(prefs, 3, seed=0).pairs_per_user() <= 3).all())
        True
    """
    if shots < 0:
        raise ValueError(f"shots is {shots}: 0 or more is expected")
    return prefs.take_pairs(_rank_within(prefs.user, np.random.default_rng(seed)) < shots)


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
    rank = _rank_within(keys // span, np.random.default_rng(seed))
    return prefs.take_pairs(rank[index] < prompts)


class _Groups(NamedTuple):
    """The groups of some preferences; where they have owners, so have the responses' numbers."""

    name: str  # what they are, in the plural
    owner: Int[np.ndarray, "groups"]  # the user whose group it is, or 0 where all users share it
    index: Int[np.ndarray, "pairs sides"]  # each pair's group (its prompt), or two (its responses)
    responses: Int[np.ndarray, "pairs 2"]

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(self.owner)


def _groups(prefs: Preferences, group_by: GroupBy, *, own: bool) -> _Groups:
    _check_choice("group_by", group_by, ("prompt", "response"))
    if not prefs.num_pairs:
        raise ValueError("the preferences hold no pairs: there is nothing to split")
    owner = prefs.user.astype(np.int64)[:, None] if own else np.zeros((1, 1), np.int64)
    responses = owner * prefs.num_responses + np.stack([prefs.chosen, prefs.rejected], axis=1)
    span = int(prefs.prompt.max()) + 1 if group_by == "prompt" else prefs.num_responses
    keys = owner * span + prefs.prompt[:, None] if group_by == "prompt" else responses
    distinct, index = np.unique(keys, return_inverse=True)
    if np.bincount(distinct // span).max() < 2:
        hint = "; group_by='response' splits the responses instead" if group_by == "prompt" else ""
        problem = "no user has" if own else "there are not"
        raise ValueError(f"{problem} 2 {group_by}s to put on two sides{hint}")
    return _Groups(
        name=f"the users' {group_by}s" if own else f"{group_by}s",
        owner=distinct // span,
        index=index.reshape(keys.shape),
        responses=np.unique(responses, return_inverse=True)[1].reshape(responses.shape),
    )


def _cut(groups: _Groups, held_out: Bool[np.ndarray, "groups"]) -> Cut:
    in_held_out = held_out[groups.index]
    test, train = np.asarray(in_held_out.all(axis=1)), np.asarray(~in_held_out.any(axis=1))
    # Prompts of both sides may share a response. It goes where most of its pairs are; its other
    # pairs are cross-split.
    sides = np.repeat(test.astype(np.int8) - train.astype(np.int8), 2)
    votes = np.bincount(groups.responses.ravel(), weights=sides)
    in_test = votes[groups.responses] > 0
    test, train = np.asarray(test & in_test.all(axis=1)), np.asarray(train & ~in_test.any(axis=1))
    return Cut(train, test, len(test) - int(test.sum()) - int(train.sum()))


def _checked(cut: Cut, groups: _Groups, what: str) -> Cut:
    for name, part in (("training", cut.train), ("test", cut.test)):
        if not part.any():
            reason = f"{cut.dropped} of {len(part)} pairs are cross-split"
            raise ValueError(f"{what} {groups.count} {groups.name} leaves no {name} pair: {reason}")
    return cut


def _rank_within(owner: Int[np.ndarray, "n"], rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """The rank of each entry, from 0, in a random order of the entries of the same owner."""
    order = np.lexsort((rng.random(len(owner)), owner))
    count = np.bincount(owner)
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - (np.cumsum(count) - count)[owner[order]]
    return rank


def _at_least_one(fraction: float, count: int) -> int:
    return min(max(1, round(fraction * count)), count - 1)


def _check_fraction(name: str, fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"{name} is {fraction}: a share between 0 and 1 is expected")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: {' or '.join(map(repr, choices))} is expected")
