"""Controls: the same evaluation without what makes users different; gains must vanish.

- Mismatched user: each user's test pairs are scored with what was learned of another user.
- Donor: each user's test pairs are scored with what was learned of the user who was asked about the
  most similar responses. People who agree but are asked about different topics look as if they
  differed, where one reward is not enough for all topics; their donors then do as well as they.
- Permutation: the whole pipeline, fit included, on pairs whose user labels are permuted at random.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from lore_jax.data.preferences import Preferences
from lore_jax.users.predict import Margins

_ENTRIES_AT_A_TIME = 4_194_304  # of the table, or of similarities: 16 MB
_SAME_RESPONSES = 0.9  # share of a user's responses that another one judges, on the average


def derangement(count: int, *, seed: int) -> Int[np.ndarray, " users"]:
    """A random permutation without a fixed point.

    A cycle in random order (Sattolo): each user meets every other one equally often.

    Args:
        count: the number of users, at least 2.
        seed: seed of the draw.

    Returns:
        Ids; none equals its index.

    Raises:
        ValueError: fewer than 2 users.

    Example:
        >>> derangement(2, seed=0)
        array([1, 0])
    """
    if count < 2:
        raise ValueError(
            f"{count} users cannot be permuted without a fixed point: at least 2 are expected"
        )
    cycle = np.random.default_rng(seed).permutation(count)
    out = np.empty(count, np.int64)
    out[cycle] = np.roll(cycle, 1)
    return out


def permute_users(prefs: Preferences, *, seed: int) -> Preferences:
    """Permutes the user labels of the pairs: every user keeps the number of pairs.

    Args:
        prefs: training pairs, shots or test pairs, each by themselves: new items then stay new.
        seed: seed of the draw.

    Returns:
        The same pairs under permuted labels.

    Example:
        >>> (permute_users(prefs, seed=0).pairs_per_user() == prefs.pairs_per_user()).all()
        np.True_
    """
    return prefs.with_users(np.random.default_rng(seed).permutation(prefs.user))


def donors(
    shots: Preferences, *, mismatched: Int[np.ndarray, " users"]
) -> Int[np.ndarray, " users"]:
    """For each user, the user who was asked about the most similar responses.

    The cosine of the means of the embeddings of all responses in a user's shots, chosen and
    rejected alike, less the mean of the responses that anybody judges. A user without shots has no
    donor, and where (almost) all users judge the same responses nobody has: means then differ by
    chance alone. That is so where a random other user judges 90 % of a user's responses. In place
    of a donor stands the mismatched user.

    Args:
        shots: what users were asked about.
        mismatched: another user for each.

    Returns:
        Ids; none equals its index, and several may be the same.

    Example:
        >>> donors(shots, mismatched=derangement(shots.num_users, seed=0)).shape
        (12,)
    """
    responses, column = np.unique([shots.chosen, shots.rejected], return_inverse=True)
    size, count = (shots.num_users, len(responses)), 2 * shots.num_pairs
    user = np.tile(shots.user, 2)
    times = csr_matrix((np.ones(count, np.float32), (user, column.ravel())), shape=size)
    has_shots = np.diff(times.indptr) > 0
    if has_shots.sum() < 2 or _shared(times) >= _SAME_RESPONSES:
        return mismatched
    sums = np.zeros((shots.num_users, shots.dim), np.float32)
    everywhere = np.zeros(shots.dim, np.float32)
    rows = max(1, _ENTRIES_AT_A_TIME // shots.dim)
    for start in range(0, len(responses), rows):
        part = np.asarray(shots.embeddings[responses[start : start + rows]], np.float32)
        sums += times[:, start : start + rows] @ part
        everywhere += part.sum(axis=0)
    amount = np.asarray(times.sum(axis=1))
    direction = sums - amount * (everywhere / max(len(responses), 1))
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
    nearest, donor = np.flatnonzero(has_shots), mismatched.copy()
    users = max(1, _ENTRIES_AT_A_TIME // len(nearest))
    for start in range(0, len(nearest), users):
        own = nearest[start : start + users]
        likeness = direction[own] @ direction[nearest].T
        likeness[np.arange(len(own)), np.arange(start, start + len(own))] = -np.inf
        donor[own] = nearest[likeness.argmax(axis=1)]
    return donor


def _shared(times: csr_matrix) -> float:
    """Mean share of a user's responses that a random other user judges.

    Of the n_r users who judge response r, each has n_r - 1 others among U - 1.
    """
    judges = np.bincount(times.indices).astype(np.float64)
    users = int((np.diff(times.indptr) > 0).sum())
    return float((judges * (judges - 1)).sum() / (judges.sum() * (users - 1)))


def with_weights_of(
    wearer: Int[np.ndarray, " users"],
    margins_of: Callable[[Preferences, Preferences], Margins],
    shots: Preferences,
    test: Preferences,
) -> Margins:
    """Margins of test pairs, each user's with the weights of another.

    The pairs change users, not the weights: so it serves weights after shots and those of a fit.

    Args:
        wearer: whose weights each user gets.
        margins_of: of shots and test pairs, for instance `predictor.fitted`.
        shots: of the users, unchanged.
        test: the pairs to predict.

    Returns:
        Margins in the order of `test`.

    Example:
        >>> from lore_jax.methods.base import BasisPredictor
        >>> own = with_weights_of(np.arange(12), BasisPredictor(model).adapted, shots, test)
        >>> own.mean.shape == (test.num_pairs,)
        True
    """
    user = wearer[test.user]
    scored = margins_of(shots, test.with_users(user))
    back = np.argsort(np.argsort(user, kind="stable"), kind="stable")
    mean: Float[np.ndarray, " pairs"] = np.asarray(scored.mean)[back]
    return scored._replace(mean=mean, variance=np.asarray(scored.variance)[back])
