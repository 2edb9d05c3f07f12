"""Users by name over one table of responses: what sessions of every kind of answers share."""

from __future__ import annotations

import contextlib
import hashlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from lore_jax.model.model import Model, response_keys, table_of_rewards
from lore_jax.storage.json_fields import check_fields
from lore_jax.users.candidates import check_rows
from lore_jax.users.named_users import NamedUsers, Who
from lore_jax.users.new_replies import rewards_of_new


class ScoredUsers:
    """Users who are scored on the host, by sums that no compiler has to see.

    Args:
        model: a fitted model.
        embeddings: the table of responses, `[responses, dim]`; the basis is applied to it once.
        users: names of the users, or how many there are.

    Raises:
        ValueError: users have no or equal names, or the table is of another width than the fit's.
    """

    def __init__(
        self,
        model: Model,
        embeddings: Float[Array | np.ndarray, "responses dim"],
        users: int | Sequence[str],
    ) -> None:
        self._users = NamedUsers(users)
        self.model, self._embeddings = model, embeddings
        self._table = table_of_rewards(model, embeddings)
        self._rewards = np.asarray(self._table)

    @property
    def names(self) -> Shaped[np.ndarray, " users"]:
        """The users' names."""
        return self._users.names

    @property
    def num_users(self) -> int:
        """The number of users."""
        return len(self.names)

    @property
    def _weights(self) -> Float[Array | np.ndarray, "users rank"]:
        """Of all users, in the order of `names`."""
        raise NotImplementedError

    def score(self, rows: ArrayLike, user: Who = None) -> Float[np.ndarray, "*users c"]:
        """Rewards of responses, in logits; only differences within a prompt mean anything.

        Args:
            rows: of the table, `[c]`; or embeddings `[c, dim]` of replies that it does not hold.
            user: whose; None: the only user's.

        Returns:
            Scores `[c]`, or `[users, c]` where several users are given.

        Raises:
            ValueError: a row is outside the table, an embedding is not finite or of another width,
                or a user is not of this session.
        """
        users = self._users.numbers(user)
        if np.ndim(rows) == 2:
            rewards_of = rewards_of_new(self.model, np.asarray(rows))
        else:
            rewards_of = self._rewards[check_rows("rows", rows, len(self._rewards))]
        scores = np.asarray(self._weights)[users] @ rewards_of.T
        return scores[0] if user is None or isinstance(user, str | int | np.integer) else scores

    def _digest(self) -> str:
        """Of the table, whose rows the answers name."""
        return hashlib.sha256(response_keys(self._embeddings).tobytes()).hexdigest()


def check_saved(saved: Mapping[str, Any], fields: type, number: int) -> None:
    """Checks what is said to be a saved session, before anything of it is used.

    Args:
        saved: what `to_dict` of a session gave, perhaps through JSON.
        fields: the `TypedDict` of what it holds.
        number: of the format.

    Raises:
        ValueError: a field is missing or of another type, the format is another one, or users have
            no or equal names.

    Example:
        >>> Saved = typing.TypedDict("Saved", {"format": int, "users": list[str]})
        >>> check_saved({"format": 1, "users": [7]}, Saved, 1)
        Traceback (most recent call last):
        ValueError: the saved session: users[0] is 7: a text is expected
    """
    if not isinstance(saved, Mapping):
        raise ValueError(f"the saved session is a {type(saved).__name__}: a mapping is expected")
    missing = [name for name in typing.get_type_hints(fields) if name not in saved]
    if missing or saved["format"] != number:
        got = f"{', '.join(missing)} missing" if missing else f"format {saved['format']!r}"
        raise ValueError(f"the saved session has {got}: format {number} is expected")
    check_fields(dict(saved), fields, "the saved session")
    with in_saved():
        NamedUsers(saved["users"])


def check_lengths(columns: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises a ValueError if columns of answers differ in length."""
    lengths = [len(columns[name]) for name in names]
    if len(set(lengths)) > 1:
        counts = ", ".join(f"{n} {name}" for n, name in zip(lengths, names, strict=True))
        raise ValueError(f"the saved session has {counts}: as many of each are expected")


@contextlib.contextmanager
def in_saved() -> Iterator[None]:
    """What is refused within is refused of the saved session."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"the saved session: {error}") from None
