"""Comparisons of a published data set, collected one by one into what `embed` takes.

Where people chose one reply of several, or gave scores, that is kept as it was said beside the
pairs that it makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers, answers, from_answers, rankings
from lore_jax.datasets.formats.messages import Message, check_prompt, check_reply
from lore_jax.datasets.formats.ratings import levels_of_scores
from lore_jax.datasets.formats.rows import ResponseTable, TextPairs, index_pairs


class Published(NamedTuple):
    """A published data set as pairs, and what was left out of it.

    Attributes:
        pairs: the pairs; `extra` holds what is known of each of them, `answers` what was said where
            that is more, and `note` one line of what was understood.
        counts: what was read, dropped or repeated, by name.
        users: what is known of each user, by name; empty if nothing is.
    """

    pairs: TextPairs
    counts: dict[str, int]
    users: dict[str, dict[str, object]]

    def column(self, name: str) -> Shaped[np.ndarray, " pairs"]:
        """A further column of the pairs, `[pairs]`, in the order of the file."""
        return np.array([row[name] for row in self.pairs.extra])


class PairCollector:
    """Takes comparisons, numbers users, groups and distinct responses, and counts what is left out.

    Attributes:
        counts: what was left out or looked at, by name; add to it.

    Example:
        >>> pairs = PairCollector()
        >>> prompt = (Message("user", "Name a colour."),)
        >>> pairs.add("line 1", "ann", "dialogue 1", prompt, "Blue.", "Red.")
        >>> pairs.finish("colours").pairs.user_ids
        ['ann']
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._table = ResponseTable()
        self._users: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._columns: list[tuple[int, int, int, int]] = []
        self._extra: list[dict[str, object]] = []
        self._choices: list[tuple[list[int], int, int]] = []
        self._scores: dict[tuple[int, int, int], float] = {}

    def add(
        self,
        where: str,
        user: str,
        group: str,
        prompt: Sequence[Message],
        chosen: str,
        rejected: str,
        **extra: object,
    ) -> None:
        """Adds a comparison; one that holds nothing to compare is counted instead.

        Args:
            where: what to call it in messages.
            user: who compared.
            group: what a split must keep on one side.
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
            raise ValueError(f"{where}: {error}") from None
        row = (
            self._table.row(tuple(prompt), chosen),
            self._table.row(tuple(prompt), rejected),
            self._users.setdefault(user, len(self._users)),
            self._groups.setdefault(group, len(self._groups)),
        )
        self._columns.append(row)
        self._extra.append(extra)

    def chose(
        self,
        user: str,
        group: str,
        prompt: Sequence[Message],
        chosen: str,
        others: Sequence[str],
    ) -> None:
        """A choice of one reply of several, as it was said; their pairs were added before.

        Args:
            user: who chose.
            group: what a split must keep on one side.
            prompt: the conversation up to the replies.
            chosen: the preferred reply.
            others: the other replies; empty and equal ones are left out.
        """
        texts = dict.fromkeys(text.strip() for text in (chosen, *others) if text.strip())
        if len(texts) > 1:
            rows = [self._table.row(tuple(prompt), text) for text in texts]
            self._choices.append((rows, self._users[user], self._groups[group]))

    def rated(
        self, user: str, group: str, prompt: Sequence[Message], scores: Sequence[tuple[str, float]]
    ) -> None:
        """Scores of replies, as they were said; pairs of these replies were added before.

        Args:
            user: who scored.
            group: what a split must keep on one side.
            prompt: the conversation up to the replies.
            scores: (reply, score); empty replies are left out, of equal ones the first counts.
        """
        texts = [(text.strip(), score) for text, score in scores if text.strip()]
        if len({text for text, _ in texts}) > 1:
            for text, score in texts:
                row = self._table.row(tuple(prompt), text)
                self._scores.setdefault((self._users[user], row, self._groups[group]), score)

    def _answers(self) -> tuple[tuple[Answers, ...] | None, str | None]:
        """What was said where that is more than pairs, and one line about it."""
        blocks: list[Answers] = []
        about = ""
        if self._choices:
            items, user, group = zip(*self._choices, strict=True)
            blocks += rankings(items, user, places=1, prompt=group)
        values = np.array(list(self._scores.values()), float)
        if len(np.unique(values)) > 1:
            user, rows, group = np.array(list(self._scores)).T
            levels, count = levels_of_scores(values)
            stars = Kind("rating", 1, levels=count)
            blocks.append(answers(stars, rows, user, outcome=levels, prompt=group))
            about = f" (scores {values.min():g} to {values.max():g} in {count} levels)"
        if not blocks:
            return None, None
        table = np.zeros((len(self._table.responses), 1), np.float16)
        understood = from_answers(table, blocks, num_users=len(self._users))
        made = f"{understood!r}{about} became {len(self._columns):,} pairs."
        return tuple(blocks), made

    def finish(self, name: str, users: dict[str, dict[str, object]] | None = None) -> Published:
        """The pairs, and what is known of their `users`.

        Raises:
            ValueError: nothing is left; the message says what was dropped of the data set `name`.
        """
        if not self._columns:
            read = ", ".join(f"{count} {text}" for text, count in self.counts.items()) or "no rows"
            raise ValueError(f"{name} holds no pair: {read}")
        columns = vars(index_pairs(self._columns, list(self._users)))
        said, note = self._answers()
        columns |= {"answers": said, "note": note}
        pairs = TextPairs(**columns, responses=self._table.responses, extra=self._extra)
        self.counts["duplicated pairs, kept"] += pairs.num_duplicates
        counts = {text: count for text, count in self.counts.items() if count}
        users = users or {}
        known = {user_id: users[user_id] for user_id in self._users if user_id in users}
        return Published(pairs, counts, known)
