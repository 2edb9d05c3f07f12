"""Splits that never leak: seen and unseen users, new and known items, folds, and draws of a few
shots.

A *group* is what a test must not share with training: the prompt, or, where all pairs answer one
prompt, the response. Two tests, two cuts:

- new items: a group is on one side for everybody (`hold_out_groups`);
- known items: each user's own groups are cut, others may have judged the same ones
(`hold_out_within_users`).

A cross-split pair, with one response on each side, is dropped, never assigned, and counted. Holding out *pairs*
instead would leave both responses of a test pair in training, in other pairs of the same user, and
measure memory.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

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

    train: np.ndarray
    test: np.ndarray
    dropped: int


def split_users(num_users: int, unseen: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws which users are kept out of the fit.

    Args:
        num_users: the number of users, at least 2.
        unseen: the share of them to keep out, between 0 and 1; rounded to whole users, at least 1
            on each side.
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
        raise ValueError(
            f"{num_users} users cannot be split into seen and unseen ones: at least 2 are expected"
        )
    kept_out = np.random.default_rng(seed).permutation(num_users)[
        : _at_least_one(unseen, num_users)
    ]
    is_unseen = np.isin(np.arange(num_users), kept_out)
    return np.flatnonzero(~is_unseen), np.flatnonzero(is_unseen)


def hold_out_groups(
    prefs: Preferences, fraction: float, *, group_by: GroupBy = "prompt", seed: int
) -> Cut:
    """Cuts pairs so that no group, and no response, stands on both sides: the test of new items.

    With `group_by="prompt"` a response given to prompts of both sides goes where most of its pairs are.

    Args:
        prefs: any preferences.
        fraction: the share of the groups to hold out, between 0 and 1; exact up to rounding, at
            least 1 on each side.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
        seed: seed of the draw.

    Returns:
        The `Cut`.

    Raises:
        ValueError: fewer than 2 groups, a share outside `(0, 1)`, or no pair is left on one side.

    Example:
        >>> cut = hold_out_groups(prefs, 0.3, seed=0)
        >>> train, test = prefs.take_pairs(cut.train), prefs.take_pairs(cut.test)
    """
    _check_fraction("fraction", fraction)
    groups = _groups(prefs, group_by, own=False)
    held_out = np.random.default_rng(seed).permutation(groups.count) < _at_least_one(
        fraction, groups.count
    )
    return _checked(_cut(groups, held_out), groups, f"holding out {fraction:g} of")


def hold_out_within_users(
    prefs: Preferences, fraction: float, *, group_by: GroupBy = "prompt", seed: int
) -> Cut:
    """Cuts each user's own groups, so that no user meets a group or response of their training again:
    known items.

    Other users may have judged a user's test groups in training.

    Args:
        prefs: any preferences.
        fraction: the share of each user's groups to hold out, between 0 and 1, rounded to whole
            groups for each user (a user with a single group keeps it in training below 1/2).
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
        seed: seed of the draw.

    Returns:
        The `Cut`.

    Raises:
        ValueError: no user has 2 groups, a share outside `(0, 1)`, or no pair is left on one side.

    Example:
        >>> cut = hold_out_within_users(prefs, 0.25, group_by="response", seed=0)
        >>> cut.dropped
        118
    """
    _check_fraction("fraction", fraction)
    groups = _groups(prefs, group_by, own=True)
    held_out = (
        groups.rank(np.random.default_rng(seed))
        < np.rint(fraction * np.bincount(groups.owner))[groups.owner]
    )
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

    With `holdout="new items"` a group is what all users share (`hold_out_groups`), with `holdout="known items"` each
    user's own (`hold_out_within_users`). Each fold drops its own cross-split pairs.

    Args:
        prefs: any preferences.
        count: the number of folds, at least 2.
        holdout: whether the fitted model will meet items it has not seen, or ones it has.
        group_by: "prompt", or "response" where prompts are few and judged by everybody.
        seed: seed of the draw.

    Returns:
        `count` cuts.

    Raises:
        ValueError: fewer groups than folds, an unknown `holdout`, or a fold is left without pairs on one
            side.

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
    # A user's first group lands in a random fold: otherwise users with few groups would all be tested
    # in the first ones.
    fold = (
        groups.rank(rng) + rng.integers(count, size=groups.owner.max() + 1)[groups.owner]
    ) % count
    return [
        _checked(_cut(groups, fold == k), groups, f"fold {k} of {count} over") for k in range(count)
    ]


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
        >>> posterior = adapt(model, draw_shots(prefs, 10, seed=0))
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
        >>> posterior = adapt(model, draw_prompts(prefs, 3, seed=0))
    """
    if prompts < 0:
        raise ValueError(f"prompts is {prompts}: 0 or more is expected")
    span = int(prefs.prompt.max(initial=0)) + 1
    own, of_pair = np.unique(prefs.user.astype(np.int64) * span + prefs.prompt, return_inverse=True)
    return prefs.take_pairs(
        _rank_within(own // span, np.random.default_rng(seed))[of_pair] < prompts
    )


class _Groups(NamedTuple):
    """The groups of some preferences.

    Attributes:
        name: what they are, in the plural.
        owner: whose group it is, `[groups]`: a user, or 0 for all where users share groups.
        of_pair: the group, or the two groups, of each pair, `[pairs, 1 or 2]`.
        responses: a number of each pair's two responses (of the user's, where groups have owners),
            `[pairs, 2]`.
    """

    name: str
    owner: np.ndarray
    of_pair: np.ndarray
    responses: np.ndarray

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(self.owner)

    def rank(self, rng: np.random.Generator) -> np.ndarray:
        """Each group's place in a random order of its owner's groups, from 0, `[groups]`."""
        return _rank_within(self.owner, rng)


def _groups(prefs: Preferences, group_by: GroupBy, *, own: bool) -> _Groups:
    _check_choice("group_by", group_by, ("prompt", "response"))
    if not prefs.num_pairs:
        raise ValueError("the preferences hold no pairs: there is nothing to split")
    owner = prefs.user.astype(np.int64)[:, None] if own else np.zeros((1, 1), np.int64)
    responses = owner * prefs.num_responses + np.stack([prefs.chosen, prefs.rejected], axis=1)
    span = int(prefs.prompt.max()) + 1 if group_by == "prompt" else prefs.num_responses
    keys = owner * span + prefs.prompt[:, None] if group_by == "prompt" else responses
    distinct, of_pair = np.unique(keys, return_inverse=True)
    if np.bincount(distinct // span).max() < 2:
        hint = "; group_by='response' splits the responses instead" if group_by == "prompt" else ""
        raise ValueError(
            f"{'no user has' if own else 'there are not'} 2 {group_by}s to put on two sides{hint}"
        )
    number_of_response = np.unique(responses, return_inverse=True)[1].reshape(responses.shape)
    name = f"the users' {group_by}s" if own else f"{group_by}s"
    return _Groups(name, distinct // span, of_pair.reshape(keys.shape), number_of_response)


def _cut(groups: _Groups, held_out: np.ndarray) -> Cut:
    side = held_out[groups.of_pair]
    test, train = np.asarray(side.all(axis=1)), np.asarray(~side.any(axis=1))
    # Prompts of both sides may share a response: it goes where most of its pairs are, and its other
    # pairs straddle.
    votes = np.bincount(
        groups.responses.ravel(), weights=np.repeat(test.astype(np.int8) - train.astype(np.int8), 2)
    )
    in_test = votes[groups.responses] > 0
    test, train = np.asarray(test & in_test.all(axis=1)), np.asarray(train & ~in_test.any(axis=1))
    return Cut(train, test, len(test) - int(test.sum()) - int(train.sum()))


def _checked(cut: Cut, groups: _Groups, what: str) -> Cut:
    for name, part in (("training", cut.train), ("test", cut.test)):
        if not part.any():
            raise ValueError(
                f"{what} {groups.count} {groups.name} leaves no {name} pair: {cut.dropped} of {len(part)} pairs are "
                "cross-split"
            )
    return cut


def _rank_within(owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each entry's place, from 0, in a random order of the entries of the same owner, `[n]`."""
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
