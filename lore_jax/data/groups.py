"""What a split must not cut, its *groups* (as in GroupKFold), and the ways to find them.

A group is a prompt, or, where all pairs answer one prompt, a response. Prompts that share a
response are linked: a response is on one side only, and so are linked prompts if no pair is to be
lost. Where one linked group holds most pairs, as with votes on statements, the groups are the
responses, and the pairs that compare responses of two sides are lost; how many depends on which
responses are held out (`data/partition.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from lore_jax.data.partition import connected, partition
from lore_jax.data.preferences import Preferences

GroupBy = Literal["prompt", "response"]


class Way(NamedTuple):
    """How pairs are put into groups, and groups on sides.

    Attributes:
        group_by: what is on one side.
        linked: prompts that share a response are one group.
        balanced: sides are not drawn at random but searched for: users keep pairs on both sides,
            and few pairs are cut.
    """

    group_by: GroupBy
    linked: bool = False
    balanced: bool = False


_LARGEST = 0.25  # the most pairs of one group: a test is not of one group alone
_MOST = 0.5  # of the pairs

# From the most natural one to the one that always has something to cut.
WAYS = (
    Way("prompt", linked=True),
    Way("prompt"),
    Way("prompt", linked=True, balanced=True),
    Way("response", balanced=True),
)


class Groups(NamedTuple):
    """The groups of some preferences; where they have owners, so have the responses' numbers.

    Attributes:
        name: what they are, in the plural.
        owner: the user whose group it is, or 0 where all users share it.
        index: each pair's group (its prompt), or two (its responses).
        responses: the numbers of each pair's responses.
    """

    name: str
    owner: Int[np.ndarray, "groups"]
    index: Int[np.ndarray, "pairs sides"]
    responses: Int[np.ndarray, "pairs 2"]

    @property
    def count(self) -> int:
        """The number of groups."""
        return len(self.owner)

    @property
    def largest(self) -> float:
        """The share of the pairs that the largest group has."""
        return float(np.bincount(self.index[:, 0]).max() / len(self.index))


def way_of(group_by: GroupBy | Way) -> Way:
    """The way that a choice of groups names.

    Raises:
        ValueError: there are no groups of this name.
    """
    if isinstance(group_by, Way):
        return group_by
    if group_by not in ("prompt", "response"):
        raise ValueError(f"group_by is {group_by!r}: 'prompt' or 'response' is expected")
    return Way(group_by)


def find_groups(prefs: Preferences, way: Way, *, own: bool) -> Groups:
    """The groups of some preferences.

    Args:
        prefs: any preferences.
        way: what the groups are.
        own: each user has groups of their own; otherwise all users share them.

    Raises:
        ValueError: there are no pairs, or there are no two groups to put on two sides.

    Example:
        >>> find_groups(prefs, Way("prompt"), own=False).count
        50
    """
    if not prefs.num_pairs:
        raise ValueError("the preferences hold no pairs: there is nothing to split")
    owner = prefs.user.astype(np.int64)[:, None] if own else np.zeros((1, 1), np.int64)
    responses = owner * prefs.num_responses + np.stack([prefs.chosen, prefs.rejected], axis=1)
    by_prompt = way.group_by == "prompt"
    span = int(prefs.prompt.max()) + 1 if by_prompt else prefs.num_responses
    keys = owner * span + prefs.prompt[:, None] if by_prompt else responses
    distinct, index = np.unique(keys, return_inverse=True)
    index, owners = index.reshape(keys.shape), distinct // span
    responses = np.unique(responses, return_inverse=True)[1].reshape(responses.shape)
    if way.linked:
        # Prompts and responses are nodes; a pair links its prompt with both of its responses.
        links = np.repeat(index, 2, axis=0)
        links = np.stack([links[:, 0], len(distinct) + responses.ravel()], axis=1)
        label = connected(links)[: len(distinct)]
        owners, index = owners[np.unique(label, return_index=True)[1]], label[index]
    if np.bincount(owners).max() < 2:
        hint = "; group_by='response' splits the responses instead" if by_prompt else ""
        problem = "no user has" if own else "there are not"
        what = f"{way.group_by}s{' without a common response' if way.linked else ''}"
        raise ValueError(f"{problem} 2 {what} to put on two sides{hint}")
    name = f"the users' {way.group_by}s" if own else f"{way.group_by}s"
    return Groups(name, owners, index, responses)


def has_groups(prefs: Preferences, way: Way, least: int, *, own: bool) -> bool:
    """Whether there are so many groups, none with more than a quarter of the pairs.

    Where users have groups of their own, most pairs must be of users with several.

    Example:
        >>> has_groups(prefs, Way("prompt"), 20, own=False)
        True
    """
    try:
        groups = find_groups(prefs, way, own=own)
    except ValueError:
        return False
    if own:
        return float(np.mean(np.bincount(groups.owner)[prefs.user] > 1)) > _MOST
    return groups.count >= least and groups.largest <= _LARGEST


def describe_groups(prefs: Preferences, way: Way) -> str:
    """What the groups are, in words, and how prompts hang together where that matters.

    Example:
        >>> describe_groups(prefs, Way("prompt", linked=True))
        'prompts'
    """
    links = np.stack([prefs.prompt, int(prefs.prompt.max()) + 1 + prefs.chosen], axis=1)
    other = np.stack([links[:, 0], int(prefs.prompt.max()) + 1 + prefs.rejected], axis=1)
    label = connected(np.concatenate([links, other]))[prefs.prompt]
    prompts, linked = len(np.unique(prefs.prompt)), len(np.unique(label))
    if prompts == 1:
        return f"{way.group_by}s (all pairs answer 1 prompt)"
    if way.group_by == "response" or (way.linked and linked < prompts):
        of = f"of {prompts:,} prompts, in" if way.group_by == "response" else f"{prompts:,}, in"
        return f"{way.group_by}s ({of} {linked:,} groups without a common response)"
    return "prompts"


def draw_parts(groups: Groups, count: int, *, seed: int) -> Int[np.ndarray, " groups"]:
    """A part in `0 .. count - 1` for each group, as equal as can be for each owner."""
    rng = np.random.default_rng(seed)
    rank = rank_within(groups.owner, rng)
    # Each user's first group is in a random part: otherwise the first parts would have all of the
    # users who have few groups.
    first = rng.integers(count, size=groups.owner.max() + 1)
    return (rank + first[groups.owner]) % count


def balanced_parts(
    prefs: Preferences,
    groups: Groups,
    shares: Sequence[float],
    *,
    least: Sequence[int] | None = None,
    seed: int,
) -> Int[np.ndarray, " groups"]:
    """A part for each group, so that users have pairs in all of them and few pairs are cut."""
    return partition(groups.index, prefs.user, np.array(shares), least=least, seed=seed)


def rank_within(owner: Int[np.ndarray, "n"], rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """The rank of each entry, from 0, in a random order of the entries of the same owner."""
    order = np.lexsort((rng.random(len(owner)), owner))
    count = np.bincount(owner)
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - (np.cumsum(count) - count)[owner[order]]
    return rank
