"""Users by name over one table of responses: what sessions of every kind of answers share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from lore_jax.model.model import Model, response_keys, table_of_rewards
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
