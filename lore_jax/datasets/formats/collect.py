"""Comparisons of a published data set, collected one by one into the pairs and the table that
`embed` takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lore_jax.datasets.formats.messages import Message, check_prompt, check_reply
from lore_jax.datasets.formats.rows import ResponseTable, TextPairs


class Published(NamedTuple):
    """A published data set as pairs, and what was left out of it.

    Attributes:
        pairs: the pairs; `extra` holds what is known of each of them (`column` gives it as an
            array).
        counts: what was read, dropped or repeated, by name.
        users: what is known of each user, by name; empty if nothing is.
    """

    pairs: TextPairs
    counts: dict[str, int]
    users: dict[str, dict[str, Any]]

    def column(self, name: str) -> np.ndarray:
        """A further column of the pairs, `[pairs]`, in the order of the file."""
        return np.array([row[name] for row in self.pairs.extra])


class PairCollector:
    """Takes comparisons, numbers users, groups and distinct responses, and counts what is left out.

    Attributes:
        counts: what was left out or looked at, by name; add to it.

    Example:
        >>> pairs = PairCollector()
        >>> pairs.add("line 1", "ann", "dialogue 1", (Message("user", "Name a colour."),), "Blue.", "Red.")
        >>> pairs.finish("colours").pairs.user_ids
        ['ann']
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._table = ResponseTable()
        self._users: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._columns: list[tuple[int, int, int, int]] = []
        self._extra: list[dict[str, Any]] = []

    def add(
        self,
        place: str,
        user: str,
        group: str,
        prompt: Sequence[Message],
        chosen: str,
        rejected: str,
        **extra: Any,
    ) -> None:
        """Adds a comparison; one that holds nothing to compare is counted instead.

        Args:
            place: what to call it in messages.
            user: who compared.
            group: what splits must not cut.
            prompt: the conversation up to the replies.
            chosen: the preferred reply.
            rejected: the other reply.
            **extra: further columns.

        Raises:
            ValueError: the prompt does not end with a turn of the user's, or a reply is a list
                rendered as text.
        """
        chosen, rejected = chosen.strip(), rejected.strip()
        if not chosen or not rejected:
            self.counts["pairs dropped: an empty reply"] += 1
            return
        if chosen == rejected:
            self.counts["pairs dropped: equal replies"] += 1
            return
        try:
            check_prompt("prompt", tuple(prompt))
            check_reply("chosen", chosen)
            check_reply("rejected", rejected)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        best, other = (self._table.row(tuple(prompt), reply) for reply in (chosen, rejected))
        who, where = (
            self._users.setdefault(user, len(self._users)),
            self._groups.setdefault(group, len(self._groups)),
        )
        self._columns.append((best, other, who, where))
        self._extra.append(extra)

    def finish(self, what: str, users: dict[str, dict[str, Any]] | None = None) -> Published:
        """The pairs.

        Args:
            what: the data set, for the message.
            users: what is known of users.

        Raises:
            ValueError: nothing is left; the message says what was dropped.
        """
        if not self._columns:
            why = ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "no rows"
            raise ValueError(f"{what} holds no pair: {why}")
        chosen, rejected, user, group = np.array(self._columns, np.int32).T
        pairs = TextPairs(
            chosen=chosen,
            rejected=rejected,
            user=user,
            prompt=group,
            pair_weight=np.ones(len(user), np.float32),
            user_ids=list(self._users),
            num_duplicates=len(user)
            - len(np.unique(np.stack([user, chosen, rejected], axis=1), axis=0)),
            responses=self._table.responses,
            extra=self._extra,
        )
        self.counts["duplicated pairs, kept"] += pairs.num_duplicates
        known = {name: users[name] for name in self._users if name in users} if users else {}
        return Published(
            pairs, {name: count for name, count in self.counts.items() if count}, known
        )
