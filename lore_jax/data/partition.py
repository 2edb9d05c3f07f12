"""A partition of responses into parts that cuts few pairs and leaves every user some in each part.

Where everybody judges responses from one pool, the two sides of a split cannot both keep a pair
that compares a response of one side with one of the other. Responses that are drawn at random cut
`1 - sum_k s_k^2` of the pairs (42 % for shares of .7 and .3) and leave users without a test. This
partition is the best found for

    sum_u sum_k s_k log(1/10 + n_uk) + 3/10 min(n_uk / m_k, 1)

where `n_uk` is the number of pairs of user u with both responses in part k, `s_k` is the part's
share, and `m_k` is the number of pairs that a user needs there. Without cuts the optimum of a user
is about `n_uk = s_k n_u`; a cut pair costs a user with few pairs much and one with many little; and
a user without enough pairs in some part costs most.

The search starts at random, several times where there are few pairs, and moves responses to the
part where the objective gains most: in each round a random half of those that gain, so that
neighbours do not change places for ever. A round costs one pass over the pairs. Where responses
fall into topics that are never compared, one more start draws whole topics. The best end is taken;
where users need more than 1 pair, the ends of the objectives with `m_k` and with 1 compete by the
users and the pairs they keep.

What was chosen in a pair is never looked at: who compared what with what decides alone. The parts
are as blind to the outcome as random ones. They are no random sample, though: a pair of responses
that meet often is tested more often.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_ZERO = 0.1  # what a part without a pair counts as
_ENOUGH = 0.3  # of 0, 0.3, 1 and 3 it kept most users of votes of 5 real and 3 synthetic sets
_STARTS = 4
_SMALL = 200_000  # pairs: the ends of different starts differ less, the more there are
_ROUNDS = 60
_PATIENCE = 8  # rounds without a better partition


def partition(
    nodes: Int[np.ndarray, "pairs sides"],
    user: Int[np.ndarray, "pairs"],
    shares: Float[np.ndarray, " parts"],
    *,
    least: Sequence[int] | None = None,
    seed: int,
) -> Int[np.ndarray, " nodes"]:
    """Assigns nodes to parts so that few pairs are cut and users have pairs in all parts.

    Args:
        nodes: what each pair touches, 1 node (which is never cut) or 2, numbered from 0.
        user: who compared.
        shares: the size that each part should have, summing to 1.
        least: how many pairs a user needs in each part; None: 1.
        seed: seed of the start and of the moves.

    Returns:
        The part of each node.

    Example:
        >>> responses, shares = np.stack([prefs.chosen, prefs.rejected], 1), np.array([0.7, 0.3])
        >>> part = partition(responses, prefs.user, shares, seed=0)
        >>> sorted(set(part.tolist()))
        [0, 1]
    """
    rng = np.random.default_rng(seed)
    one = np.ones(len(shares))
    needed = one if least is None else np.maximum(one, least)
    moves = _Moves(nodes, user, shares, one)
    whole = connected(nodes)
    starts = [np.arange(moves.count)] * max(1, min(_STARTS, _SMALL // len(nodes)))
    if whole.max() > 0:
        starts.append(whole)
    ends = [moves.improve(_draw(start, shares, rng), rng) for start in starts]
    if (needed == 1).all():
        return max(ends, key=lambda end: end[0])[1]
    # The objective with larger needs has worse local optima now and then: what is kept decides.
    needy = _Moves(nodes, user, shares, needed)
    ends += [needy.improve(_draw(start, shares, rng), rng) for start in starts]
    return max(ends, key=lambda end: needy.kept(end[1]))[1]


def connected(nodes: Int[np.ndarray, "pairs sides"]) -> Int[np.ndarray, " nodes"]:
    """The connected component of each node; a pair connects its nodes.

    Components are numbered by their first nodes.

    Example:
        >>> connected(np.array([[0, 2], [1, 3], [2, 4]])).tolist()
        [0, 1, 0, 1, 0]
    """
    count = int(nodes.max()) + 1
    edges = (np.ones(len(nodes), np.int8), (nodes[:, 0], nodes[:, -1]))
    labels = connected_components(coo_array(edges, shape=(count, count)), directed=False)[1]
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[index]


def _draw(
    group: Int[np.ndarray, " nodes"], shares: Float[np.ndarray, " parts"], rng: np.random.Generator
) -> Int[np.ndarray, " nodes"]:
    """A random part for each group, in proportion to the shares, and at least one in each part."""
    count = int(group.max()) + 1
    bounds = np.round(np.cumsum(shares)[:-1] * count)
    return np.searchsorted(bounds, rng.permutation(count), side="right")[group]


class _Moves:
    """Counts of pairs by user, node and part, and what moving a node gains."""

    def __init__(
        self,
        nodes: Int[np.ndarray, "pairs sides"],
        user: Int[np.ndarray, "pairs"],
        shares: Float[np.ndarray, " parts"],
        least: Float[np.ndarray, " parts"],
    ) -> None:
        self.nodes, self.user = nodes, user.astype(np.int64)
        self.shares, self.least = shares, least
        self.count, self.num_users = int(nodes.max()) + 1, int(user.max()) + 1
        # A touch is a user who has pairs with a node; `touch` is that of each side of each pair.
        keys, touch = np.unique(self.user[:, None] * self.count + nodes, return_inverse=True)
        self.touch = touch.reshape(nodes.shape)
        self.touch_user, self.touch_node = np.divmod(keys, self.count)

    def improve(
        self, part: Int[np.ndarray, " nodes"], rng: np.random.Generator
    ) -> tuple[float, Int[np.ndarray, " nodes"]]:
        """Moves nodes until nothing better is found; the objective and the parts."""
        best, found, since = -np.inf, part, 0
        for _ in range(_ROUNDS):
            within = self._within(part)
            value = float(np.sum(self._worth(within)))
            since += 1
            if value > best:
                best, found, since = value, part, 0
            gain = self._gain(part, within)
            to = np.argmax(gain, axis=1)
            moves = (gain[np.arange(self.count), to] > 1e-9) & (rng.random(self.count) < 0.5)
            if since >= _PATIENCE or not moves.any():
                break
            part = np.where(moves, to, part)
        return best, found

    def kept(self, part: Int[np.ndarray, " nodes"]) -> float:
        """How many users have the pairs they need in all parts, times the pairs they have."""
        within = self._within(part)
        enough = (within >= self.least).all(axis=1)
        return float(enough.sum() * within[enough].sum())

    def _worth(self, count: Float[np.ndarray, "n parts"]) -> Float[np.ndarray, "n parts"]:
        """What numbers of pairs in each part are worth."""
        return self.shares * np.log(_ZERO + count) + _ENOUGH * np.minimum(count / self.least, 1)

    def _is_uncut(self, part: Int[np.ndarray, " nodes"]) -> Bool[np.ndarray, "pairs"]:
        return part[self.nodes[:, 0]] == part[self.nodes[:, -1]]

    def _within(self, part: Int[np.ndarray, " nodes"]) -> Float[np.ndarray, "users parts"]:
        """Each user's pairs inside each part."""
        parts = len(self.shares)
        index = self.user * parts + part[self.nodes[:, 0]]
        size = self.num_users * parts
        return np.bincount(index, self._is_uncut(part), size).reshape(-1, parts)

    def _gain(
        self, part: Int[np.ndarray, " nodes"], within: Float[np.ndarray, "users parts"]
    ) -> Float[np.ndarray, "nodes parts"]:
        """What the objective gains when a node alone moves to a part."""
        parts = len(self.shares)
        size = len(self.touch_user) * parts
        # Each touch's pairs by the part of their other node, which a lone node takes along.
        if self.nodes.shape[1] == 1:
            count = np.bincount(self.touch[:, 0], minlength=len(self.touch_user))
            there = np.repeat(count[:, None], parts, axis=1)
        else:
            index = self.touch * parts + part[self.nodes[:, ::-1]]
            there = np.bincount(index.ravel(), minlength=size).reshape(-1, parts)
        now = within[self.touch_user]
        home = part[self.touch_node][:, None]
        worth = self._worth(now)
        joined = self._worth(now + there) - worth
        # Only the column of the node's own part is used, where `there` is at most `now`.
        lost = worth - self._worth(np.maximum(now - there, 0))
        gains = joined - np.take_along_axis(lost, home, axis=1)
        np.put_along_axis(gains, home, 0.0, axis=1)
        columns = [np.bincount(self.touch_node, column, self.count) for column in gains.T]
        return np.stack(columns, axis=1)
