"""Preferences: a table of embedded responses and index pairs into it.

Every part of the package takes this one representation. A pair is two row numbers of the table,
never a difference of two embeddings: the basis is applied to the table once, `[responses, rank]`,
and everything after that costs rank, not dim.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Int, Shaped

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
    """Comparisons by many users over one table of responses; made by `from_arrays`.

    Attributes:
        embeddings: the table, float16, bfloat16 or float32; NumPy (a memory map too) or JAX, or
            the `StoredTable` of a cache larger than memory.
        chosen: row of the response the user preferred, int32 `[pairs]`.
        rejected: row of the other response, int32 `[pairs]`.
        user: who compared, int32 `[pairs]`, ascending, in `0 .. num_users - 1`.
        prompt: what both responses answer, int32 `[pairs]`.
        pair_weight: how much a pair counts, float32 `[pairs]`, non-negative; 1 by default.
        num_users: the number of users, those without any pair included.
        user_ids: the users' own names `[num_users]`, or None.
        row: where each pair stood in the arrays it came from, int32 `[pairs]` (int64 of more).
        head: the reference head `[dim]` of the reward model that made the embeddings, or None.
        encoder: what made the embeddings (`encoder_identity.py`); None: nobody knows.
    """

    embeddings: Float[np.ndarray | Array, "responses dim"]
    chosen: Int[np.ndarray, "pairs"]
    rejected: Int[np.ndarray, "pairs"]
    user: Int[np.ndarray, "pairs"]
    prompt: Int[np.ndarray, "pairs"]
    pair_weight: Float[np.ndarray, "pairs"]
    num_users: int
    user_ids: Shaped[np.ndarray, "users"] | None
    row: Int[np.ndarray, "pairs"]
    head: Float[np.ndarray, "dim"] | None
    encoder: str | None = None

    def __repr__(self) -> str:
        """The sizes, in one line."""
        return (
            f"Preferences({self.num_pairs:,} pairs, {self.num_users:,} users, "
            f"{len(np.unique(self.prompt)):,} prompts, {self.num_responses:,} responses, "
            f"dim {self.dim}, {self.embeddings.dtype})"
        )

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

    def pairs_per_user(self) -> Int[np.ndarray, "users"]:
        """The number of pairs of each user, int64 `[num_users]`."""
        return np.diff(self._first_pairs())

    def weight_per_user(self) -> Float[np.ndarray, "users"]:
        """The sum of `pair_weight` over each user's pairs, float64 `[num_users]`."""
        first, total = self._first_pairs(), np.zeros(self.num_users)
        has_pairs = np.diff(first) > 0
        if has_pairs.any():
            total[has_pairs] = np.add.reduceat(self.pair_weight, first[:-1][has_pairs])
        return total

    def _first_pairs(self) -> Int[np.ndarray, "bounds"]:
        """Where each user's pairs begin, and where the last ones end."""
        # Pairs are sorted by user: a search, in the type of the column, makes no copy of it.
        return np.searchsorted(self.user, np.arange(self.num_users + 1, dtype=self.user.dtype))

    def take_pairs(self, keep: Bool[np.ndarray, "pairs"] | Int[np.ndarray, "kept"]) -> Preferences:
        """The pairs in `keep`, a mask or row numbers, sorted by user; table and users stay."""
        index = np.flatnonzero(keep) if keep.dtype == bool else np.sort(keep)
        return self._at(index, self.user[index])

    def take_users(self, users: Int[np.ndarray, "users"]) -> Preferences:
        """The pairs of `users` (distinct ids), renumbered from 0 in the order given."""
        new_id = np.full(self.num_users, -1, np.int32)
        new_id[users] = np.arange(len(users), dtype=np.int32)
        user = new_id[self.user]
        index = np.flatnonzero(user >= 0)
        index = index[np.argsort(user[index], kind="stable")]
        user_ids = None if self.user_ids is None else self.user_ids[users]
        taken = self._at(index, user[index])
        return dataclasses.replace(taken, num_users=len(users), user_ids=user_ids)

    def take_responses(self) -> Preferences:
        """The same pairs over a table of only the responses they compare."""
        rows, index = np.unique(np.concatenate([self.chosen, self.rejected]), return_inverse=True)
        chosen, rejected = index.astype(np.int32).reshape(2, -1)
        table = self.embeddings[rows]
        return dataclasses.replace(self, embeddings=table, chosen=chosen, rejected=rejected)

    def with_users(self, user: Int[np.ndarray, "pairs"]) -> Preferences:
        """The same pairs by other users, `user` (for permutation controls)."""
        order = np.argsort(user, kind="stable")
        return self._at(order, user[order].astype(np.int32))

    def _at(self, index: Int[np.ndarray, "kept"], user: Int[np.ndarray, "kept"]) -> Preferences:
        """The pairs at `index`, by the users given."""
        names = ("chosen", "rejected", "prompt", "pair_weight", "row")
        columns = {name: getattr(self, name)[index] for name in names}
        return dataclasses.replace(self, user=user, **columns)


def judged(
    prefs: Preferences, pair_weight: Float[np.ndarray, "pairs"] | None = None
) -> Bool[np.ndarray, "responses"]:
    """Which responses are in pairs that count, by other weights than the pairs' own if given.

    Example:
        >>> bool(judged(prefs, np.zeros(prefs.num_pairs, np.float32)).any())
        False
    """
    counts = (prefs.pair_weight if pair_weight is None else pair_weight) > 0
    found = np.zeros(prefs.num_responses, bool)
    found[prefs.chosen[counts]] = found[prefs.rejected[counts]] = True
    return found


def num_judged(prefs: Preferences) -> int:
    """The number of responses in pairs that count."""
    return int(judged(prefs).sum())


class Bucket(NamedTuple):
    """Users whose number of pairs lies in `(shots / 2, shots]`; a user's pairs are contiguous.

    Attributes:
        shots: the padded length, a power of two.
        users: user ids, int32.
        first: position of each user's first pair, int32.
        count: number of pairs of each user, int32; the rest up to `shots` is padding.
    """

    shots: int
    users: Int[np.ndarray, "users"]
    first: Int[np.ndarray, "users"]
    count: Int[np.ndarray, "users"]


def group_by_user(prefs: Preferences) -> Iterator[Bucket]:
    """Groups the users who have pairs into buckets by number of pairs, padded to powers of two.

    Only positions are made here, O(users): the device builds the index `first + arange(shots)` and
    the mask `arange(shots) < count` itself.

    Args:
        prefs: any preferences.

    Yields:
        One `Bucket` for each padded length that occurs, shortest first.

    Example:
        >>> for bucket in group_by_user(prefs):
        ...     index = bucket.first[:, None] + np.arange(bucket.shots)
    """
    bounds = prefs._first_pairs().astype(np.int32)
    first, count = bounds[:-1], np.diff(bounds)
    padded = np.zeros_like(count)
    has_pairs = count > 0
    padded[has_pairs] = 1 << np.ceil(np.log2(count[has_pairs])).astype(np.int32)
    for shots in np.unique(padded[has_pairs]):
        users = np.flatnonzero(padded == shots).astype(np.int32)
        yield Bucket(int(shots), users, first[users], count[users])


def join_buckets(
    buckets: Iterable[Bucket], is_worth: Callable[[Bucket, Bucket], bool]
) -> list[Bucket]:
    """Joins buckets to the next longer one where `is_worth(longer, bucket)`; shortest first."""
    out: list[Bucket] = []
    for bucket in reversed(list(buckets)):
        if out and is_worth(out[-1], bucket):
            parts = zip(out[-1][1:], bucket[1:], strict=True)
            out[-1] = Bucket(out[-1].shots, *map(np.concatenate, parts))
        else:
            out.append(bucket)
    return out[::-1]


def from_arrays(
    embeddings: npt.ArrayLike,
    chosen: npt.ArrayLike,
    rejected: npt.ArrayLike,
    user: npt.ArrayLike,
    *,
    prompt: npt.ArrayLike | None = None,
    pair_weight: npt.ArrayLike | None = None,
    num_users: int | None = None,
    user_ids: npt.ArrayLike | None = None,
    head: npt.ArrayLike | None = None,
) -> Preferences:
    """Checks a table and index pairs and makes `Preferences` of them, sorted by user.

    Args:
        embeddings: one row a response, `[responses, dim]`, float16, bfloat16 or float32, finite.
        chosen: row of the preferred response, integer `[pairs]`.
        rejected: row of the other response, integer `[pairs]`; never the chosen one.
        user: who compared, integer `[pairs]` in `0 .. num_users - 1`.
        prompt: what both responses answer, integer `[pairs]`; None: all pairs answer one prompt.
        pair_weight: how much a pair counts, `[pairs]`, finite and non-negative; None: 1 each.
        num_users: the number of users; None: of `user_ids`, else the largest `user` plus one.
        user_ids: names of the users `[num_users]`, distinct.
        head: the reference head `[dim]`.

    Returns:
        The checked `Preferences`. `row` says where each pair stood in the arrays given.

    Raises:
        ValueError: an argument is not what it should be; the message names the first bad entry.

    Example:
        >>> table = np.eye(3, dtype=np.float32)
        >>> from_arrays(table, chosen=[0, 2], rejected=[1, 0], user=[0, 1])
        Preferences(2 pairs, 2 users, 1 prompts, 3 responses, dim 3, float32)
    """
    table = check_table(embeddings)
    responses = table.shape[0]
    given = {"chosen": chosen, "rejected": rejected, "user": user}
    if prompt is not None:
        given["prompt"] = prompt
    columns = {name: integers(name, value) for name, value in given.items()}
    pairs = len(columns["chosen"])
    for name, value in columns.items():
        if len(value) != pairs:
            got = f"{name} has {len(value)} entries, chosen has {pairs}"
            raise ValueError(f"{got}: one entry a pair is expected")
    for name in ("chosen", "rejected"):
        check_range(name, columns[name], responses, f"a table of {responses} responses")
    same = columns["chosen"] == columns["rejected"]
    refuse(same, "chosen equals rejected (response {}) in pair {}", columns["chosen"])
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
        embeddings=table,
        **{name: value[order].astype(np.int32) for name, value in columns.items()},
        pair_weight=check_pair_weight(pair_weight, pairs, order),
        num_users=num_users,
        user_ids=user_ids,
        row=order.astype(np.int32 if pairs <= _LARGEST_ID else np.int64),
        head=check_head(head, table.shape[1]),
        encoder=None,
    )


def from_dataframe(
    frame: pd.DataFrame,
    embeddings: npt.ArrayLike,
    *,
    user: str = "user_id",
    chosen: str = "chosen",
    rejected: str = "rejected",
    prompt: str = "prompt_id",
    pair_weight: str = "weight",
    head: npt.ArrayLike | None = None,
) -> Preferences:
    """Makes `Preferences` of a data frame whose rows name responses by their row in the table.

    Args:
        frame: one row a pair. Users and prompts may be of any type and are numbered in sorted
            order; `user_ids` keeps the users' names. Prompts and pair weights are optional.
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
        ValueError: a column is missing, a user is null, or `from_arrays` refuses a value.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"user_id": ["ann", "bob"], "chosen": [0, 2], "rejected": [1, 0]})
        >>> from_dataframe(frame, np.eye(3, dtype=np.float32)).user_ids.tolist()
        ['ann', 'bob']
    """
    for name in (user, chosen, rejected):
        if name not in frame.columns:
            columns = list(map(str, frame.columns))
            raise ValueError(f"column {name!r} is missing; the columns found are {columns}")
    for name in (user, prompt):
        null = np.flatnonzero(frame[name].isna()) if name in frame.columns else []
        if len(null):
            raise ValueError(f"column {name!r} is null in row {null[0]}")
    names, user_index = np.unique(frame[user].astype(str).to_numpy(), return_inverse=True)
    prompt_index = None
    if prompt in frame.columns:
        prompt_index = np.unique(frame[prompt].astype(str), return_inverse=True)[1]
    weight = frame[pair_weight].to_numpy() if pair_weight in frame.columns else None
    pairs = frame[chosen].to_numpy(), frame[rejected].to_numpy(), user_index
    return from_arrays(
        embeddings, *pairs, prompt=prompt_index, pair_weight=weight, user_ids=names, head=head
    )
