"""A session: users kept at hand, who answer, are asked and are scored without waiting.

Programs depend on shapes, and compiling one takes seconds. A session has few shapes: answers are
padded to one of two lengths, users come one at a time or in batches of one size, and scores are
sums on the host. `warmup` compiles all of them.

The answers are kept, and a user is solved for from all of them: what a session says is what `adapt`
says, to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Components, Posterior
from lore_jax.storage.json_fields import Count
from lore_jax.users.answers import Answers, AnswerStore, added, check_answers
from lore_jax.users.batches import BatchSolver
from lore_jax.users.candidates import AnsweredPairs, check_pairs, check_question, check_rows
from lore_jax.users.criteria import Criterion, Picks
from lore_jax.users.named_users import Who
from lore_jax.users.new_replies import rewards_of_new
from lore_jax.users.questions import (
    Questions,
    ask_chunk,
    question_features,
    targets_of,
    typical_distance,
)
from lore_jax.users.scored_users import ScoredUsers, check_lengths, check_saved, in_saved

_FORMAT = 1
_ROWS = ("user", "chosen", "rejected")

_MARGINS_AT_A_TIME = 1 << 18


class SavedSession(TypedDict):
    """What `Session.to_dict` gives: an entry of the columns is an answer."""

    format: Count
    table: str  # digest of the responses
    users: list[str]
    user: list[Count]
    chosen: list[Count]
    rejected: list[Count]
    time: list[float]


class Session(ScoredUsers):
    """One user or many, kept warm.

    Args:
        model: a fitted model.
        embeddings: the table of responses, `[responses, dim]`; the basis is applied to it once.
        candidates: what may be asked, rows of the table `[c, 2]`; None: `ask` has nothing to ask.
        users: names of the users, or how many there are.
        capacity: the most answers that are kept of a user.
        count: how many questions `ask` returns.
        criterion: what `ask` maximises; see `lore_jax.ask`.
        targets: what the criterion is about, if anything.
        half_life: after so much time an answer counts half; None: all count alike.
        seed: of the random criterion.

    Raises:
        ValueError: as `lore_jax.ask`; users have no or equal names; `capacity` is below 1; or
            `half_life` is no positive number.

    Example:
        >>> session = Session(model, prefs.embeddings, candidate_pairs(prefs), users=["ann", "bob"])
        >>> session.warmup()
        >>> session.observe(3, 4, user="ann").shots
        array([1], dtype=int32)
        >>> session.score([0, 1, 2], user="bob").shape
        (3,)
    """

    def __init__(
        self,
        model: Model,
        embeddings: Float[Array | np.ndarray, "responses dim"],
        candidates: ArrayLike | None = None,
        *,
        users: int | Sequence[str] = 1,
        capacity: int = 256,
        count: int = 1,
        criterion: Criterion = "information",
        targets: ArrayLike | None = None,
        half_life: float | None = None,
        seed: int = 0,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: 1 or more is expected")
        if half_life is not None and not 0.0 < half_life < float("inf"):
            raise ValueError(f"half_life is {half_life}: a number above 0, or None, is expected")
        super().__init__(model, embeddings, users)
        self.capacity, self.count, self.criterion = capacity, count, criterion
        self.half_life = half_life
        self._pairs = None
        if candidates is not None:
            self._pairs = check_pairs("candidates", candidates, 1, len(self._rewards))
            if self._pairs.ndim == 3:
                got = f"candidates has shape {self._pairs.shape}"
                raise ValueError(f"{got}: [c, 2], the same for everybody, is expected")
            key = jax.random.key(seed)
            check_question(model, self._pairs, count, criterion, key)
            self._key = key
            self._goal = targets_of(criterion, targets, self._pairs, self._rewards)
            typical = typical_distance(self._rewards)
            self._candidates = question_features(self._table, self._pairs, typical)
            self._answered = AnsweredPairs(self._pairs, len(self._rewards))
        self._solver = BatchSolver(model, self._table, self.num_users, capacity, half_life)
        self.answers = AnswerStore(self.num_users)
        posterior, known = self._solver.solve(self.answers.take(np.zeros(1, int)))
        repeat = np.zeros(self.num_users, int)
        self._posterior = jax.tree.map(lambda leaf: np.asarray(leaf)[repeat], posterior)
        self._known = jax.tree.map(lambda leaf: np.asarray(leaf)[repeat], known)

    @property
    def posterior(self) -> Posterior:
        """What is known of all users, in the order of `names`."""
        return self._of(np.arange(self.num_users))

    @property
    def components(self) -> Components:
        """The same component by component, as `criteria` takes it."""
        return self._known

    def warmup(self) -> None:
        """Compiles all programs."""
        self._solver.warmup()
        rewards_of_new(self.model, np.zeros((1, self._embeddings.shape[1]), np.float32))
        if self._pairs is not None:
            for size in {1, self._ask_size(self.num_users)}:
                users = np.arange(size) % self.num_users
                jax.block_until_ready(self._ask(users, np.zeros(0, int)))

    def observe(
        self,
        chosen: ArrayLike,
        rejected: ArrayLike,
        user: Who = None,
        *,
        time: ArrayLike | None = None,
    ) -> Posterior:
        """Takes answers, of candidates or of any other pair; contradictory ones all count.

        Args:
            chosen: row of the response that was chosen, or rows `[n]`.
            rejected: row of the other.
            user: who answered: a name or number, or one for each answer; None: the only user.
            time: when, not before the user's last answer; None: one after it.

        Returns:
            The posterior of the users who answered, each once, in the order of `names`.

        Raises:
            ValueError: a row is outside the table, both sides are one response, a user is not of
                this session, has too many answers, or an answer is dated before an earlier one. The
                session is as it was.
        """
        who = self._users.numbers(user)
        new = check_answers(who, chosen, rejected, time, len(self._rewards))
        users, answers = added(self.answers, new, self.capacity)
        return self._commit(users, answers)

    def forget(self, user: Who = None, *, last: int | None = None) -> Posterior:
        """Drops answers.

        Args:
            user: whose; None: the only user's.
            last: how many of the last ones; None: all.

        Returns:
            The posterior of the users without them.

        Raises:
            ValueError: a user is not of this session, or `last` is below 1.
        """
        if last is not None and last < 1:
            raise ValueError(f"last is {last}: 1 or more, or None for all answers, is expected")
        users = np.unique(self._users.numbers(user))
        return self._commit(users, self.answers.take(users).dropped(last))

    def ask(self, user: Who = None, *, without: ArrayLike | None = None) -> Questions:
        """The next questions, of the candidates that were not answered.

        Args:
            user: whom; None: the only user.
            without: numbers of candidates not to ask now.

        Returns:
            The `Questions`, `[users, count]`; -1 where no candidate is left.

        Raises:
            ValueError: the session has no candidates, `without` names others, or a user is not of
                it.
        """
        users = self._users.numbers(user)
        if self._pairs is None:
            raise ValueError("the session has no candidates: Session(..., candidates) takes them")
        left_out = np.zeros(0, int)
        if without is not None and np.size(without):
            left_out = check_rows("without", without, len(self._pairs), "a list of {} candidates")
        size = self._ask_size(len(users))
        parts: list[Picks] = []
        for at in range(0, len(users), size):
            chunk = users[np.minimum(np.arange(at, at + size), len(users) - 1)]
            parts.append(jax.device_get(self._ask(chunk, left_out)))
        joined = jax.tree.map(lambda *values: np.concatenate(values)[: len(users)], *parts)
        pairs = self._pairs[joined.index]
        pairs = np.where(joined.index[..., None] < 0, -1, pairs)
        return Questions(
            first=pairs[..., 0],
            second=pairs[..., 1],
            index=joined.index,
            probability=joined.probability,
            gain=joined.gain,
        )

    def to_dict(self) -> dict[str, Any]:
        """The answers as plain lists and numbers, fit for JSON; `from_dict` leads back.

        Model and table are not in it, but a digest of the table: answers are taken along to
        another fit on the same responses.
        """
        kept = self.answers.take(np.arange(self.num_users))
        live = np.arange(kept.chosen.shape[1]) < kept.count[:, None]
        return {
            "format": _FORMAT,
            "table": self._digest(),
            "users": self.names.tolist(),
            "user": np.nonzero(live)[0].tolist(),
            "chosen": kept.chosen[live].tolist(),
            "rejected": kept.rejected[live].tolist(),
            "time": kept.time[live].tolist(),
        }

    @classmethod
    def from_dict(
        cls,
        saved: Mapping[str, Any],
        model: Model,
        embeddings: Float[Array | np.ndarray, "responses dim"],
        candidates: ArrayLike | None = None,
        **options: Any,
    ) -> Session:
        """The session with the answers of `to_dict`.

        Args:
            saved: from `to_dict`.
            model: a fitted model.
            embeddings: the same table.
            candidates: what may be asked from now on.
            options: as of `Session`, but `users`.

        Raises:
            ValueError: `saved` is no such dictionary, or was made with another table; one line
                names the first field that is not what it should be.

        Example:
            >>> session = Session(model, prefs.embeddings, users=["ann"])
            >>> session.observe([0, 2], [1, 1]).shots
            array([2], dtype=int32)
            >>> again = Session.from_dict(session.to_dict(), model, prefs.embeddings)
            >>> again.posterior.shots
            array([2], dtype=int32)
        """
        check_saved(saved, SavedSession, _FORMAT)
        check_lengths(saved, (*_ROWS, "time"))
        session = cls(model, embeddings, candidates, users=saved["users"], **options)
        if saved["table"] != session._digest():
            raise ValueError("the saved session was made with another table of responses")
        if len(saved["chosen"]):
            user, chosen, rejected = (np.asarray(saved[name]) for name in _ROWS)
            with in_saved():
                session.observe(chosen, rejected, user, time=saved["time"])
        return session

    @property
    def _weights(self) -> Float[Array | np.ndarray, "users rank"]:
        return self._posterior.weights

    def _commit(self, users: np.ndarray, answers: Answers) -> Posterior:
        posterior, known = self._solver.solve(answers)  # before anything is changed
        self.answers.put(users, answers)
        for kept, new in ((self._posterior, posterior), (self._known, known)):
            for leaf, values in zip(jax.tree.leaves(kept), jax.tree.leaves(new), strict=True):
                leaf[users] = values
        return self._of(users)

    def _of(self, users: np.ndarray) -> Posterior:
        taken = {name: getattr(self._posterior, name)[users] for name in POSTERIOR_ARRAYS}
        return Posterior(**taken, user_ids=self.names[users])

    def _ask_size(self, users: int) -> int:
        """How many of so many users are asked together."""
        if users == 1 or self._pairs is None:
            return 1
        most = 1 << (self.num_users - 1).bit_length()
        return max(1, min(most, _MARGINS_AT_A_TIME // len(self._pairs)))

    def _ask(self, users: np.ndarray, left_out: np.ndarray) -> Picks:
        known = jax.tree.map(lambda leaf: leaf[users], self._known)
        answers = self.answers.take(users)
        both = np.stack([answers.chosen, answers.rejected], axis=-1)
        live = np.arange(both.shape[1]) < answers.count[:, None]
        asked = self._answered.mask(users, np.nonzero(live)[0], both[live])
        asked[:, left_out] = True
        # A user's random questions differ from one answer to the next.
        draw = (users + self.num_users * answers.count.astype(np.int64)) % (1 << 31)
        return ask_chunk(
            self.model.likelihood,
            known,
            self._candidates,
            None,
            asked,
            self._goal,
            self._key,
            draw.astype(np.int32),
            self.criterion,
            self.count,
        )
