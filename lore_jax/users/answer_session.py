"""A session of users who say more than "A rather than B": ties, strengths, rankings, ratings.

As in `users/session.py` shapes are few and programs are compiled before they are needed, answers
are kept, and a user is solved for from all of them: what a session says is what `adapt_answers`
says, to rounding. Users come one at a time or in batches of one size, and answers of every kind are
padded to the session's capacity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lore_jax.data.answer_kinds import Kind, KindName
from lore_jax.data.feedback import answers as checked_answers
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.model import Model
from lore_jax.storage.json_fields import Between, Count
from lore_jax.users.answer_batches import AnswerBatchSolver
from lore_jax.users.answer_candidates import AnswerCandidates
from lore_jax.users.answer_questions import AnswerQuestions
from lore_jax.users.answering import AnswerPosterior, check_scales
from lore_jax.users.candidates import check_rows
from lore_jax.users.kept_answers import Kept, added, last_order, no_answers, without_last
from lore_jax.users.named_users import Who
from lore_jax.users.scored_users import ScoredUsers, check_lengths, check_saved, in_saved

_FORMAT = 1
_COLUMNS = ("user", "items", "outcome", "order")
_KIND_FIELDS = tuple(field.name for field in dataclasses.fields(Kind))


class _SavedKind(TypedDict):
    """The fields of a `Kind`."""

    name: KindName
    num_items: Count
    levels: Count
    places: Count


class _SavedAnswers(TypedDict):
    """Answers of one kind, sorted by user and, of a user, by order."""

    user: list[Count]
    items: list[list[Count]]
    outcome: list[Count]
    order: list[Annotated[int, Between(1, 2**62)]]  # among the user's answers of all kinds


class SavedAnswerSession(TypedDict):
    """What `AnswerSession.to_dict` gives."""

    format: Count
    table: str  # digest of the responses
    users: list[str]
    kinds: list[_SavedKind]
    answers: list[_SavedAnswers]  # of each kind


class AnswerSession(ScoredUsers):
    """One user or many who answer in several ways, kept warm.

    Args:
        model: a fitted model with a Gaussian prior, or a mixture.
        answers: how people answer (`fit_feedback(...).answers`).
        embeddings: the table of responses, `[responses, dim]`.
        kinds: what may be said.
        candidates: of some kinds what may be asked, rows of the table `[c, items]`.
        users: names of the users, or how many there are.
        capacity: the most answers of a kind that are kept of a user.
        count: how many questions `ask` returns.

    Raises:
        ValueError: `answers` does not know the scale of a kind, candidates are not what they should
            be, users have no or equal names, or `capacity` or `count` is below 1.

    Example:
        >>> tie, stars = Kind("tie", 2, levels=3), Kind("rating", 1, levels=5)
        >>> how = begin_answers(feedback)
        >>> session = AnswerSession(model, how, feedback.embeddings, [tie, stars], users=["ann"])
        >>> session.warmup()
        >>> session.observe(tie, [3, 4], outcome=1).users.shots
        array([1], dtype=int32)
        >>> session.observe(stars, [[3], [7]], outcome=[4, 0]).users.shots
        array([3], dtype=int32)
    """

    def __init__(
        self,
        model: Model,
        answers: AnswerModel,
        embeddings: Float[Array | np.ndarray, "responses dim"],
        kinds: Sequence[Kind],
        *,
        candidates: Mapping[Kind, ArrayLike] | None = None,
        users: int | Sequence[str] = 1,
        capacity: int = 32,
        count: int = 1,
    ) -> None:
        for name, value in (("capacity", capacity), ("count", count)):
            if value < 1:
                raise ValueError(f"{name} is {value}: 1 or more is expected")
        self.kinds = tuple(dict.fromkeys(kinds))
        if not self.kinds:
            raise ValueError("kinds is empty: at least one kind of answers is expected")
        check_scales(answers, self.kinds)
        super().__init__(model, embeddings, users)
        self.answers, self.capacity, self.count = answers, capacity, count
        solver = AnswerBatchSolver(
            model, answers, self._table, self.kinds, self.num_users, capacity
        )
        self._solver, self._candidates = solver, {}
        for kind, rows in (candidates or {}).items():
            self._check_kind(kind)
            self._candidates[kind] = AnswerCandidates(
                answers, kind, rows, self._rewards, count=count, num_users=self.num_users
            )
        self._kept = [no_answers(kind, self.num_users) for kind in self.kinds]
        nobody = solver.solve([part.take(np.zeros(1, int)) for part in self._kept])
        repeat = np.zeros(self.num_users, int)
        self._posterior = jax.tree.map(lambda leaf: np.asarray(leaf)[repeat], nobody)

    @property
    def posterior(self) -> AnswerPosterior:
        """What is known of all users, in the order of `names`."""
        return self._of(np.arange(self.num_users))

    def warmup(self) -> None:
        """Compiles all programs."""
        self._solver.warmup()
        for candidates in self._candidates.values():
            candidates.warmup(self._posterior)

    def observe(
        self,
        kind: Kind,
        items: ArrayLike,
        user: Who = None,
        *,
        outcome: ArrayLike | None = None,
    ) -> AnswerPosterior:
        """Takes answers of one kind.

        Args:
            kind: what they say, one of the session's.
            items: rows of the responses `[items]`, or `[n, items]`: of rankings in the order said.
            user: who answered: a name or number, or one for each answer; None: the only user.
            outcome: the level, from 0, or `[n]`; None for pairs, rankings and best-worst.

        Returns:
            The posterior of the users who answered, each once, in the order of `names`.

        Raises:
            ValueError: the kind is not of this session, a row is outside the table, an answer names
                a response twice, a level is outside the scale, a user is not of this session, or
                has too many answers. The session is as it was.
        """
        number = self._check_kind(kind)
        rows = np.asarray(items)
        rows = rows[None] if rows.ndim == 1 else rows
        who = self._users.numbers(user)
        if rows.ndim != 2 or len(who) not in (1, len(rows)):
            got = f"items has shape {np.shape(items)}, for {len(who)} users"
            raise ValueError(f"{got}: [n, {kind.num_items}] and n users, or one, are expected")
        who = np.broadcast_to(who, len(rows))
        said = None if outcome is None else np.atleast_1d(np.asarray(outcome))
        new = checked_answers(kind, rows, who, outcome=said)
        outside = (new.items < 0) | (new.items >= len(self._rewards))
        if outside.any():
            where = f"outside a table of {len(self._rewards)} responses"
            raise ValueError(f"items holds {new.items[outside][0]}, {where}")
        users, place = np.unique(who, return_inverse=True)
        mine = [part.take(users) for part in self._kept]
        order = last_order(mine)[place] + 1 + np.arange(len(place))
        mine[number] = added(mine[number], new, place, order, self.capacity)
        return self._commit(users, mine)

    def forget(self, user: Who = None, *, last: int | None = None) -> AnswerPosterior:
        """Drops answers.

        Args:
            user: whose; None: the only user's.
            last: how many of the last ones, of whatever kind; None: all.

        Returns:
            The posterior of the users without them.

        Raises:
            ValueError: a user is not of this session, or `last` is below 1.
        """
        if last is not None and last < 1:
            raise ValueError(f"last is {last}: 1 or more, or None for all answers, is expected")
        users = np.unique(self._users.numbers(user))
        return self._commit(users, without_last([part.take(users) for part in self._kept], last))

    def ask(
        self, kind: Kind, user: Who = None, *, without: ArrayLike | None = None
    ) -> AnswerQuestions:
        """The next questions of one kind, of the candidates about which nothing was said that way.

        Args:
            kind: what to ask for.
            user: whom; None: the only user.
            without: numbers of candidates not to ask now.

        Returns:
            The `AnswerQuestions`; -1 where no candidate is left.

        Raises:
            ValueError: the session has no candidates of this kind, `without` names others, or a
                user is not of it.
        """
        users = self._users.numbers(user)
        if kind not in self._candidates:
            raise ValueError(f"the session has no candidates of {kind}")
        candidates, left_out = self._candidates[kind], np.zeros(0, int)
        if without is not None and np.size(without):
            what = "a list of {} candidates"
            left_out = check_rows("without", without, len(candidates.rows), what)
        kept = self._kept[self.kinds.index(kind)].take(users)
        return candidates.ask(self._posterior, users, kept, left_out)

    def to_dict(self) -> dict[str, Any]:
        """The answers as plain lists and numbers, fit for JSON; `from_dict` leads back.

        Model, answer model and table are not in it, but a digest of the table.
        """
        said = []
        for part in self._kept:
            live = np.arange(part.outcome.shape[1]) < part.count[:, None]
            values = np.nonzero(live)[0], part.items[live], part.outcome[live], part.order[live]
            said.append({n: v.tolist() for n, v in zip(_COLUMNS, values, strict=True)})
        return {
            "format": _FORMAT,
            "table": self._digest(),
            "users": self.names.tolist(),
            "kinds": [dataclasses.asdict(kind) for kind in self.kinds],
            "answers": said,
        }

    @classmethod
    def from_dict(
        cls,
        saved: Mapping[str, Any],
        model: Model,
        answers: AnswerModel,
        embeddings: Float[Array | np.ndarray, "responses dim"],
        **options: Any,
    ) -> AnswerSession:
        """The session with the answers of `to_dict`.

        Args:
            saved: from `to_dict`.
            model: a fitted model.
            answers: how people answer.
            embeddings: the same table.
            options: as of `AnswerSession`, but `kinds` and `users`.

        Raises:
            ValueError: `saved` is no such dictionary, or was made with another table; one line
                names the first field that is not what it should be.

        Example:
            >>> how, stars = begin_answers(feedback), Kind("rating", 1, levels=5)
            >>> session = AnswerSession(model, how, feedback.embeddings, [stars])
            >>> _ = session.observe(stars, [3], outcome=4)
            >>> saved = session.to_dict()
            >>> AnswerSession.from_dict(saved, model, how, feedback.embeddings).num_users
            1
        """
        check_saved(saved, SavedAnswerSession, _FORMAT)
        with in_saved():
            kinds = [Kind(**{n: kind[n] for n in _KIND_FIELDS}) for kind in saved["kinds"]]
            _check_kept(kinds, saved["answers"], len(embeddings))
        session = cls(model, answers, embeddings, kinds, users=saved["users"], **options)
        if saved["table"] != session._digest():
            raise ValueError("the saved session was made with another table of responses")
        for kind, said in zip(kinds, saved["answers"], strict=True):
            if said["user"]:
                outcome = said["outcome"] if kind.levels and kind.name != "pair" else None
                with in_saved():
                    session.observe(kind, said["items"], said["user"], outcome=outcome)
        for part, said in zip(session._kept, saved["answers"], strict=True):
            live = np.arange(part.order.shape[1]) < part.count[:, None]
            part.order[live] = said["order"]
        return session

    def _check_kind(self, kind: Kind) -> int:
        if kind not in self.kinds:
            known = ", ".join(map(str, self.kinds))
            raise ValueError(f"the session takes no {kind}: {known} are expected")
        return self.kinds.index(kind)

    @property
    def _weights(self) -> Float[Array | np.ndarray, "users rank"]:
        return self._posterior.users.weights

    def _commit(self, users: np.ndarray, mine: list[Kept]) -> AnswerPosterior:
        posterior = self._solver.solve(mine)  # before anything is changed
        for number, part in enumerate(mine):
            kept = self._kept[number].with_slots(part.outcome.shape[1])
            part = part.with_slots(kept.outcome.shape[1])
            for field, values in zip(kept, part, strict=True):
                field[users] = values
            self._kept[number] = kept
        leaves = jax.tree.leaves(self._posterior), jax.tree.leaves(posterior)
        for leaf, values in zip(*leaves, strict=True):
            leaf[users] = values
        return self._of(users)

    def _of(self, users: np.ndarray) -> AnswerPosterior:
        taken = jax.tree.map(lambda leaf: leaf[users], self._posterior)
        named = dataclasses.replace(taken.users, user_ids=self.names[users])
        return dataclasses.replace(taken, users=named)


def _check_kept(kinds: Sequence[Kind], answers: Sequence[_SavedAnswers], responses: int) -> None:
    """Refuses answers that are not of these kinds, or that do not stand in their order."""
    if len(set(kinds)) < len(kinds) or len(kinds) != len(answers):
        got = f"{len(kinds)} kinds, {len(set(kinds))} of them different, and {len(answers)} answers"
        raise ValueError(f"{got}: as many of each are expected")
    when: set[tuple[int, int]] = set()
    for number, (kind, said) in enumerate(zip(kinds, answers, strict=True)):
        if kind.num_items > responses:
            raise ValueError(f"{kind} are about more than the {responses} responses there are")
        check_lengths(said, _COLUMNS)
        if wrong := [len(items) for items in said["items"] if len(items) != kind.num_items]:
            got = f"answers[{number}].items holds {wrong[0]} responses"
            raise ValueError(f"{got}: {kind.num_items} are expected of {kind}")
        own = list(zip(said["user"], said["order"], strict=True))
        if own != sorted(own) or len(when | set(own)) < len(when) + len(own):
            expected = "users in ascending order, and of each an order of its own, are expected"
            raise ValueError(f"answers[{number}] are not sorted: {expected}")
        when |= set(own)
