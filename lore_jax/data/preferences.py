"""Preferences: a table of embedded responses and index pairs into it.

This is the one representation of the project. A pair is two row numbers of the table, never a
difference of two embeddings: the basis is applied to the table once, `[responses, rank]`, and
everything after that costs rank, not dim.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lore_jax.data.checks import (
    check_head,
    check_pair_weight,
    check_range,
    check_table,
    check_user_ids,
    integers,
    refuse,
)

if TYPE_CHECKING:
    import pandas as pd

_LARGEST_ID = int(np.iinfo(np.int32).max)


@dataclasses.dataclass(frozen=True, eq=False)
class Preferences:
    """Comparisons by many users over one table of responses; build it with `from_arrays`, which
    checks it.

    Attributes:
        embeddings: the table `[responses, dim]`, float16, bfloat16 or float32; NumPy (a memory map
            too) or JAX.
        chosen: row of the response the user preferred, int32 `[pairs]`.
        rejected: row of the other response, int32 `[pairs]`.
        user: who compared, int32 `[pairs]`, ascending, in `0 .. num_users - 1`.
        prompt: what both responses answer, int32 `[pairs]`.
        pair_weight: how much a pair counts, float32 `[pairs]`, non-negative; 1 by default.
        num_users: the number of users, those without any pair included.
        user_ids: the users' own names `[num_users]`, or None.
        row: where each pair stood in the arrays it came from, int64 `[pairs]` (pairs are sorted by
            user here).
        head: the reference head `[dim]` of the reward model that made the embeddings, or None.
    """

    embeddings: Any
    chosen: np.ndarray
    rejected: np.ndarray
    user: np.ndarray
    prompt: np.ndarray
    pair_weight: np.ndarray
    num_users: int
    user_ids: np.ndarray | None
    row: np.ndarray
    head: np.ndarray | None

    @property
    def num_pairs(self) -> int:
        """The number of pairs."""
        return len(self.user)

    @property
    def num_responses(self) -> int:
        """The number of rows of the table."""
        return self.embeddings.shape[0]

    @property
    def dim(self) -> int:
        """The length of one embedding."""
        return self.embeddings.shape[1]

    def pairs_per_user(self) -> np.ndarray:
        """The number of pairs of each user, int64 `[num_users]`."""
        return np.diff(self._first_pairs())

    def weight_per_user(self) -> np.ndarray:
        """The sum of each user's weights, float64 `[num_users]`."""
        first, total = self._first_pairs(), np.zeros(self.num_users)
        has_pairs = np.diff(first) > 0
        if has_pairs.any():
            total[has_pairs] = np.add.reduceat(self.pair_weight, first[:-1][has_pairs])
        return total

    def _first_pairs(self) -> np.ndarray:
        """Where each user's pairs begin, and where the last ones end: pairs are sorted, so that
        none need be counted.
        """
        return np.searchsorted(self.user, np.arange(self.num_users + 1, dtype=self.user.dtype))

    def take_pairs(self, keep: np.ndarray) -> Preferences:
        """The pairs in `keep` (a mask or row numbers `[n]`), sorted by user again; table and users
        stay as they are.
        """
        index = np.flatnonzero(keep) if keep.dtype == bool else np.sort(keep)
        columns = {
            name: getattr(self, name)[index]
            for name in ("chosen", "rejected", "user", "prompt", "pair_weight", "row")
        }
        return dataclasses.replace(self, **columns)

    def take_users(self, users: np.ndarray) -> Preferences:
        """The pairs of `users` (ids `[n]`, distinct), who become users `0 ..

        n - 1` in the order given.
        """
        new_id = np.full(self.num_users, -1, np.int32)
        new_id[users] = np.arange(len(users), dtype=np.int32)
        user = new_id[self.user]
        index = np.flatnonzero(user >= 0)
        index = index[np.argsort(user[index], kind="stable")]
        columns = {
            name: getattr(self, name)[index]
            for name in ("chosen", "rejected", "prompt", "pair_weight", "row")
        }
        return dataclasses.replace(
            self,
            user=user[index],
            num_users=len(users),
            user_ids=None if self.user_ids is None else self.user_ids[users],
            **columns,
        )

    def take_responses(self) -> Preferences:
        """The same pairs over a table of the responses they compare, and no others: what a fit
        needs of a large table.
        """
        rows, place = np.unique(np.concatenate([self.chosen, self.rejected]), return_inverse=True)
        chosen, rejected = place.astype(np.int32).reshape(2, -1)
        return dataclasses.replace(
            self, embeddings=self.embeddings[rows], chosen=chosen, rejected=rejected
        )

    def with_users(self, user: np.ndarray) -> Preferences:
        """The same pairs, made by other users: `user [pairs]` in `0 .. num_users - 1` (for shuffled
        controls).
        """
        order = np.argsort(user, kind="stable")
        columns = {
            name: getattr(self, name)[order]
            for name in ("chosen", "rejected", "prompt", "pair_weight", "row")
        }
        return dataclasses.replace(self, user=user[order].astype(np.int32), **columns)


class Bucket(NamedTuple):
    """Users whose number of pairs lies in `(shots / 2, shots]`; their pairs are contiguous, because
    pairs are sorted.

    Attributes:
        shots: the padded length, a power of two.
        users: user ids, int32 `[n]`.
        first: position of each user's first pair, int32 `[n]`.
        count: number of pairs of each user, int32 `[n]`; positions `first + count ...` up to
            `shots` are padding.
    """

    shots: int
    users: np.ndarray
    first: np.ndarray
    count: np.ndarray


def group_by_user(prefs: Preferences) -> Iterator[Bucket]:
    """Groups the users who have pairs into buckets by number of pairs, padded to powers of two.

    A user with 600 pairs is padded to 1,024 and does not pad anybody else. Only positions are made
    here, O(users): the device builds the index `first + arange(shots)` and the mask `arange(shots)
    < count` itself.

    Args:
        prefs: any preferences.

    Yields:
        One `Bucket` for each padded length that occurs, shortest first. Users without pairs are in
        none.

    Example:
        >>> for bucket in group_by_user(prefs):
        ...     index = bucket.first[:, None] + np.arange(bucket.shots)
    """
    # Pairs are sorted by user: a search, in the type of the column, makes no copy of it as counting
    # would.
    place = np.searchsorted(
        prefs.user, np.arange(prefs.num_users + 1, dtype=prefs.user.dtype)
    ).astype(np.int32)
    first, count = place[:-1], np.diff(place)
    padded = np.zeros_like(count)
    has_pairs = count > 0
    padded[has_pairs] = 1 << np.ceil(np.log2(count[has_pairs])).astype(np.int32)
    for shots in np.unique(padded[has_pairs]):
        users = np.flatnonzero(padded == shots).astype(np.int32)
        yield Bucket(int(shots), users, first[users], count[users])


def from_arrays(
    embeddings: Any,
    chosen: Any,
    rejected: Any,
    user: Any,
    *,
    prompt: Any = None,
    pair_weight: Any = None,
    num_users: int | None = None,
    user_ids: Sequence[str] | np.ndarray | None = None,
    head: Any = None,
) -> Preferences:
    """Checks a table and index pairs and makes `Preferences` of them, sorted by user.

    Args:
        embeddings: one row a distinct response, `[responses, dim]`, float16, bfloat16 or float32,
            all finite.
        chosen: row of the preferred response, integer `[pairs]`.
        rejected: row of the other response, integer `[pairs]`; never the chosen one.
        user: who compared, integer `[pairs]` in `0 .. num_users - 1`.
        prompt: what both responses answer, integer `[pairs]`; None: all pairs answer one prompt.
        pair_weight: how much a pair counts, `[pairs]`, finite and non-negative; None: 1 each.
        num_users: the number of users; None: the length of `user_ids`, else the largest `user` plus
            one.
        user_ids: names of the users `[num_users]`, distinct.
        head: the reference head `[dim]`.

    Returns:
        The checked `Preferences`. `row` says where each pair stood in the arrays given.

    Raises:
        ValueError: an argument is not what it should be; the message names the first place.

    Example:
        >>> prefs = from_arrays(np.eye(3, dtype=np.float32), chosen=[0, 2], rejected=[1, 0], user=[0, 1])
        >>> prefs.num_users, prefs.num_pairs
        (2, 2)
    """
    check_table(embeddings)
    responses = embeddings.shape[0]
    columns = {"chosen": chosen, "rejected": rejected, "user": user}
    if prompt is not None:
        columns["prompt"] = prompt
    columns = {name: integers(name, value) for name, value in columns.items()}
    pairs = len(columns["chosen"])
    for name, value in columns.items():
        if len(value) != pairs:
            raise ValueError(
                f"{name} has {len(value)} entries, chosen has {pairs}: one entry a pair is expected"
            )
    check_range("chosen", columns["chosen"], responses, f"a table of {responses} responses")
    check_range("rejected", columns["rejected"], responses, f"a table of {responses} responses")
    refuse(
        columns["chosen"] == columns["rejected"],
        "chosen equals rejected (response {}) in pair {}",
        columns["chosen"],
    )
    if user_ids is not None:
        user_ids = check_user_ids(np.asarray(user_ids), num_users)
    if num_users is None:
        largest = int(columns["user"].max()) if pairs else -1
        num_users = len(user_ids) if user_ids is not None else largest + 1
    if num_users < 0:
        raise ValueError(f"num_users is {num_users}: 0 or more is expected")
    check_range("user", columns["user"], num_users, f"{num_users} users")
    if prompt is not None:
        check_range("prompt", columns["prompt"], _LARGEST_ID + 1, f"0 .. {_LARGEST_ID}")
    else:
        columns["prompt"] = np.zeros(pairs, np.int32)
    order = np.argsort(columns["user"], kind="stable")
    return Preferences(
        embeddings=embeddings,
        **{name: value[order].astype(np.int32) for name, value in columns.items()},
        pair_weight=check_pair_weight(pair_weight, pairs, order),
        num_users=num_users,
        user_ids=user_ids,
        row=order.astype(np.int64),
        head=check_head(head, embeddings.shape[1]),
    )


def from_dataframe(
    frame: pd.DataFrame,
    embeddings: Any,
    *,
    user: str = "user_id",
    chosen: str = "chosen",
    rejected: str = "rejected",
    prompt: str = "prompt_id",
    pair_weight: str = "pair_weight",
    head: Any = None,
) -> Preferences:
    """Makes `Preferences` of a data frame whose rows name responses by their row in the table.

    Args:
        frame: one row a pair. Users and prompts may be of any type (strings, numbers): they are
            numbered in sorted order, and the users' names are kept as `user_ids`. The prompt and
            pair_weight columns are optional.
        embeddings: the table `[responses, dim]`.
        user: name of the column that says who compared.
        chosen: name of the column with the preferred response's row.
        rejected: name of the column with the other response's row.
        prompt: name of the column that says what both responses answer.
        pair_weight: name of the column that says how much a pair counts.
        head: the reference head `[dim]`.

    Returns:
        The checked `Preferences`.

    Raises:
        ValueError: a column is missing (the message says which were found), a user is null, or a
            value is refused by `from_arrays`.

    Example:
        >>> frame = pd.DataFrame({"user_id": ["ann", "bob"], "chosen": [0, 2], "rejected": [1, 0]})
        >>> from_dataframe(frame, np.eye(3, dtype=np.float32)).user_ids.tolist()
        ['ann', 'bob']
    """
    for name in (user, chosen, rejected):
        if name not in frame.columns:
            raise ValueError(
                f"column {name!r} is missing; the columns found are {list(map(str, frame.columns))}"
            )
    for name in (user, prompt):
        null = np.flatnonzero(frame[name].isna()) if name in frame.columns else []
        if len(null):
            raise ValueError(f"column {name!r} is null in row {null[0]}")
    names, user_index = np.unique(frame[user].astype(str).to_numpy(), return_inverse=True)
    prompt_index = (
        np.unique(frame[prompt].astype(str), return_inverse=True)[1]
        if prompt in frame.columns
        else None
    )
    return from_arrays(
        embeddings,
        frame[chosen].to_numpy(),
        frame[rejected].to_numpy(),
        user_index,
        prompt=prompt_index,
        pair_weight=frame[pair_weight].to_numpy() if pair_weight in frame.columns else None,
        user_ids=names,
        head=head,
    )
