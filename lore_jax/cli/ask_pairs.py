"""What `lore-jax ask` asks for: pairs here, other kinds of answers in `ask_kinds`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from lore_jax.model.posterior import Posterior
    from lore_jax.users.session import Session


class Question(NamedTuple):
    """One question: the number of its candidate, what its answer is worth, its responses."""

    index: int
    gain: float
    rows: tuple[int, ...]


class Asker(Protocol):
    """What a person is asked, and how the answers are read and kept."""

    @property
    def words(self) -> str:
        """What may be typed."""
        ...

    def warmup(self) -> None:
        """Compiles all programs."""
        ...

    def ask(self, skipped: list[int]) -> Question | None:
        """The next question; None: there is none left."""
        ...

    def read(self, word: str) -> int | None:
        """What a word says; None: nothing."""
        ...

    def observe(self, rows: tuple[int, ...], said: int) -> None:
        """Learns from an answer."""
        ...

    def forget(self) -> None:
        """Takes the last answer back."""
        ...

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Of some responses, for the person."""
        ...

    @property
    def you(self) -> Posterior:
        """What is known of the person."""
        ...

    def row(self, rows: tuple[int, ...], said: int) -> dict[str, object]:
        """An answer for the file: rows of responses by column, and what was said."""
        ...


class PairAsker:
    """Which of two responses is better: 0 is the first."""

    words = "a, b"

    def __init__(self, session: Session) -> None:
        self._session = session

    def warmup(self) -> None:
        """Of the session."""
        self._session.warmup()

    def ask(self, skipped: list[int]) -> Question | None:
        """The next pair."""
        question = self._session.ask(without=np.array(skipped, int))
        if (index := int(question.index[0, 0])) < 0:
            return None
        rows = int(question.first[0, 0]), int(question.second[0, 0])
        return Question(index, float(question.gain[0, 0]), rows)

    def read(self, word: str) -> int | None:
        """By its first letter."""
        return {"a": 0, "b": 1}.get(word[:1])

    def observe(self, rows: tuple[int, ...], said: int) -> None:
        """Keeps the answer."""
        self._session.observe(rows[said], rows[1 - said])

    def forget(self) -> None:
        """Drops the last answer."""
        self._session.forget(last=1)

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Of the session."""
        return self._session.score(rows)

    @property
    def you(self) -> Posterior:
        """The session's only user."""
        return self._session.posterior

    def row(self, rows: tuple[int, ...], said: int) -> dict[str, object]:
        """The chosen one and the rejected one."""
        return {"chosen": rows[said], "rejected": rows[1 - said]}
