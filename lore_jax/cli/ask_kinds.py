"""`lore-jax ask` for more than "A rather than B": no preference, how much better, ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lore_jax.cli.ask_pairs import Question
from lore_jax.data.answer_kinds import Kind
from lore_jax.users.answer_session import AnswerSession
from lore_jax.users.candidates import candidate_pairs

if TYPE_CHECKING:
    from lore_jax.cli.models import LoadedModel
    from lore_jax.data.preferences import Preferences
    from lore_jax.model.posterior import Posterior

_ASKED = "strength", "tie", "rating"  # what says most, if a run knows several
_MOST_RATED = 1000  # responses


def kind_to_ask(loaded: LoadedModel, wanted: str | None) -> Kind | None:
    """What a person is asked for; None: pairs.

    Args:
        loaded: the model.
        wanted: the name of a kind; None: the first that the model knows of strength, tie, rating.

    Raises:
        ValueError: the model does not know how such answers are given.
    """
    known: dict[str, list[Kind]] = {}
    for scale in [] if loaded.said is None else sorted(loaded.said[0].free):
        name, _, levels = scale.partition(" ")
        if name in _ASKED:
            kind = Kind(name, 1 if name == "rating" else 2, levels=int(levels))  # pyright: ignore
            known.setdefault(name, []).append(kind)
    if wanted is None:
        wanted = next((name for name in _ASKED if name in known), "pair")
    if wanted == "pair":
        return None
    if wanted not in known:
        raise ValueError(f"say is {wanted}: {loaded.path} knows {', '.join(known) or 'pairs'} only")
    return known[wanted][-1]


def kind_asker(loaded: LoadedModel, kind: Kind, prefs: Preferences, **options: Any) -> KindAsker:
    """A session of one person and one kind.

    Args:
        loaded: a model that was fitted to answers as they were said.
        kind: of `kind_to_ask`.
        prefs: the responses to ask about.
        options: of `AnswerSession`.
    """
    assert loaded.said is not None
    if kind.name == "rating":
        rows = np.arange(prefs.num_responses, dtype=np.int32)
        if len(rows) > _MOST_RATED:
            rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_RATED, replace=False))
        candidates = rows[:, None]
    else:
        candidates = candidate_pairs(prefs)
    how, given = loaded.said[0], {kind: candidates}
    session = AnswerSession(
        loaded.model, how, prefs.embeddings, [kind], candidates=given, **options
    )
    return KindAsker(session, kind)


class KindAsker:
    """Ties, strengths and ratings by their levels: of two responses the last is the first's."""

    def __init__(self, session: AnswerSession, kind: Kind) -> None:
        self._session, self._kind, self._most = session, kind, kind.levels // 2

    @property
    def words(self) -> str:
        """What may be typed."""
        if self._kind.name == "rating":
            return f"1 (worst) to {self._kind.levels} (best)"
        neither = ", n(o preference)" if self._kind.levels % 2 else ""
        if self._most == 1:
            return f"a, b{neither}"
        return f"a1 (a little better) to a{self._most}, b1 to b{self._most}{neither}"

    def warmup(self) -> None:
        """Of the session."""
        self._session.warmup()

    def ask(self, skipped: list[int]) -> Question | None:
        """What would tell most."""
        question = self._session.ask(self._kind, without=np.array(skipped, int))
        if (index := int(question.index[0, 0])) < 0:
            return None
        rows = tuple(question.items[0, 0].tolist())
        return Question(index, float(question.information[0, 0]), rows)

    def read(self, word: str) -> int | None:
        """The level; a letter alone is the least preference."""
        if self._kind.name == "rating":
            levels = {str(level + 1): level for level in range(self._kind.levels)}
            return levels.get(word)
        if word[:1] == "n" and self._kind.levels % 2:
            return self._most
        if word[:1] not in ("a", "b") or word[1:] not in ("", *map(str, range(1, self._most + 1))):
            return None
        size = int(word[1:] or 1)
        return self._kind.levels - 1 - self._most + size if word[0] == "a" else self._most - size

    def observe(self, rows: tuple[int, ...], said: int) -> None:
        """Keeps the answer."""
        self._session.observe(self._kind, np.array(rows), outcome=said)

    def forget(self) -> None:
        """Drops the last answer."""
        self._session.forget(last=1)

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Of the session."""
        return self._session.score(rows)

    @property
    def you(self) -> Posterior:
        """The weights of the session's only user."""
        return self._session.posterior.users

    def row(self, rows: tuple[int, ...], said: int) -> dict[str, object]:
        """A rating from 1, or the chosen one, the rejected one and by how much."""
        if self._kind.name == "rating":
            return {"response": rows[0], "rating": said + 1}
        first = said >= self._kind.levels - self._most
        chosen, rejected = rows if first or said >= self._most else rows[::-1]
        size = said - (self._kind.levels - 1 - self._most) if first else self._most - said
        return {"chosen": chosen, "rejected": rejected, "strength": size}
