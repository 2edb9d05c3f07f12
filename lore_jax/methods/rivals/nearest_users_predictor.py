"""Predictions of users by the votes of those of the fit, who are told apart by embeddings."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from lore_jax.data.preferences import Preferences
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.pair_slots import padded_pairs, rounded_slots
from lore_jax.methods.rivals.unsaved import Unsaved
from lore_jax.methods.rivals.user_votes import USERS_AT_A_TIME, Scores, neighbour_margins
from lore_jax.model.model import find_responses, response_keys
from lore_jax.parallel.rounding import rounded, rounded_rows
from lore_jax.users.predict import Margins

_LEAST_USERS = USERS_AT_A_TIME  # fewer cost as much
_DIGITS_OF_USERS = 3  # to steps of a quarter: few shapes, as each is a program


@dataclasses.dataclass(frozen=True, eq=False)
class NearestUsersPredictor(Unsaved):
    """The users of the fit, who vote.

    Attributes:
        score: of the responses of the fit.
        judged: who judged which.
        keys: `response_keys` of the responses.
        kappa: how many alike users the population is worth.
    """

    score: Float[np.ndarray, "users responses"]
    judged: Float[np.ndarray, "users responses"]
    keys: UInt32[np.ndarray, "responses 2"]
    kappa: float

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Log odds given each user's shots, without uncertainty; 0 where nobody votes."""
        # Responses that nobody judged share a column behind the others, in which nobody votes.
        rows, columns = self.score.shape
        spare = (0, rounded_rows(rows) - rows), (0, rounded_rows(columns + 1) - columns)
        scores = Scores(*(jnp.asarray(np.pad(x, spare)) for x in (self.score, self.judged)))
        (given, _), (asked, pairs) = (self._padded(prefs) for prefs in (shots, test))
        margin = _margins(scores, given, asked, np.float32(self.kappa))
        mean = np.zeros(test.num_pairs, np.float32)
        mean[pairs[pairs >= 0]] = np.asarray(margin)[pairs >= 0]
        return Margins(mean, np.zeros_like(mean))

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """The same: a user of the fit is known by the training pairs, which are the shots."""
        return self.adapted(shots, test)

    def _padded(self, prefs: Preferences) -> tuple[Pairs, np.ndarray]:
        """Pairs of all users, and of nobody, by the columns of the scores; where they stand."""
        column = find_responses(self.keys, response_keys(prefs.embeddings))
        column = np.where(column >= 0, column, len(self.keys)).astype(np.int32)
        users = np.full(rounded(max(_LEAST_USERS, prefs.num_users), _DIGITS_OF_USERS), -1)
        users[: prefs.num_users] = np.arange(prefs.num_users)
        pairs, slots = padded_pairs(prefs, users, rounded_slots(prefs, users))
        sides = {name: column[getattr(pairs, name)] for name in ("chosen", "rejected")}
        return dataclasses.replace(pairs, **sides), slots


@jax.jit
def _margins(scores: Scores, given: Pairs, asked: Pairs, kappa: Array) -> Array:
    """Log odds `[users, tests]`."""

    def user(pairs: tuple[Pairs, Pairs]) -> Array:
        return neighbour_margins(scores, *pairs, kappa[None])[0]

    return jax.lax.map(user, (given, asked), batch_size=USERS_AT_A_TIME)
