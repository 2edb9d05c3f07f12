"""Users by name or by number, as a session is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Int

from lore_jax.data.checks import check_user_ids

# A user by name or number, several of them, or None for the only one.
Who: TypeAlias = str | int | Sequence[str] | Sequence[int] | np.ndarray | None


class NamedUsers:
    """Some users, each with a name and a number.

    Args:
        users: their names, or how many there are: then their numbers are their names.

    Raises:
        ValueError: there are none, or two of one name.

    Example:
        >>> NamedUsers(["ann", "bob"]).numbers(["bob", 0]).tolist()
        [1, 0]
    """

    def __init__(self, users: int | Sequence[str]) -> None:
        if isinstance(users, int):
            if users < 1:
                raise ValueError(f"users is {users}: 1 or more is expected")
            self.names = np.arange(users).astype(str)
        else:
            names = np.asarray(users)
            if names.ndim != 1 or not len(names):
                raise ValueError(
                    f"users has shape {names.shape}: names, at least one, are expected"
                )
            self.names = check_user_ids(names, None)
        self._index = {name: index for index, name in enumerate(self.names.tolist())}

    def numbers(self, who: Who) -> Int[np.ndarray, " n"]:
        """Numbers of users by name or number.

        Raises:
            ValueError: one is not among them, or None is given for several.
        """
        count = len(self.names)
        if who is None:
            if count != 1:
                raise ValueError(f"user is None, but the session has {count} users")
            return np.zeros(1, int)
        several = [who] if isinstance(who, str | int | np.integer) else who
        if isinstance(several, np.ndarray) and np.issubdtype(several.dtype, np.integer):
            numbers = several.astype(int)
        else:
            numbers = np.array(
                [self._index.get(one, -1) if isinstance(one, str) else int(one) for one in several],
                int,
            )
        bad = (numbers < 0) | (numbers >= count)
        if numbers.ndim != 1 or not len(numbers) or bad.any():
            first = np.asarray(several).ravel()[bad][:1].tolist() if bad.any() else several
            text = repr(first[0]) if bad.any() else repr(first)
            raise ValueError(f"user {text} is not one of the {count} of this session")
        return numbers
