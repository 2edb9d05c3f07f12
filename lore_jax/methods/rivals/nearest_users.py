"""Nearest users: a new user's choices are those of the users of the fit who agreed so far.

The votes are those of `user_votes`; kappa, how many alike users the population is worth, is chosen
on validation. A response is recognised by its embedding, wherever it stands in a table; of one that
was in no pair of the fit nobody says anything, and the prediction is a coin: for known items alone.

Reference:
    Herlocker, Konstan, Borchers and Riedl 1999, "An algorithmic framework for performing
    collaborative filtering".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, FoldWeights, Prediction, Stage, predicted
from lore_jax.methods.checks import check_positive
from lore_jax.methods.defaults import WithoutSteps
from lore_jax.methods.rivals.draws import Pairs
from lore_jax.methods.rivals.nearest_users_predictor import NearestUsersPredictor
from lore_jax.methods.rivals.user_votes import (
    USERS_AT_A_TIME,
    Scores,
    count_scores,
    neighbour_margins,
)
from lore_jax.model.model import response_keys
from lore_jax.parallel.buckets import FitData, Layout
from lore_jax.parallel.devices import first_shard
from lore_jax.parallel.rounding import rounded_rows
from lore_jax.solvers.likelihood import LOGISTIC

KAPPAS = (10.0, 3.0, 1.0, 0.3)
MOST_SCORES = 2**26  # users x responses: a quarter of a gigabyte


@dataclasses.dataclass(frozen=True)
class NearestUsersConfig(WithoutSteps):
    """Votes of the users who agreed so far; None: chosen on validation.

    Attributes:
        kappa: how many alike users the population is worth.

    Example:
        >>> from lore_jax.fitting.fit import fit_predictor
        >>> config = FitConfig(NearestUsersConfig(kappa=3.0), holdout="known items")
        >>> predictor, history = fit_predictor(prefs, config, key=0)
        >>> predictor.adapted(shots, test).mean.shape == (test.num_pairs,)
        True
    """

    kappa: float | None = None

    def __post_init__(self) -> None:
        check_positive(self, "kappa")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """Kappa is a variant: one count serves all.

        Raises:
            ValueError: users times responses are too many.
        """
        size = prefs.num_users * prefs.num_responses
        if size > MOST_SCORES:
            raise ValueError(
                f"{prefs.num_users:,} users times {prefs.num_responses:,} responses: nearest users "
                f"keep a score of each, of at most {MOST_SCORES:,}"
            )
        return [Stage("kappa", self, ({},))]

    def variants(self) -> list[Choice]:
        """Kappa, the largest first."""
        return [{"kappa": kappa} for kappa in (KAPPAS if self.kappa is None else (self.kappa,))]

    def input_scale(self, prefs: Preferences) -> float:
        """The table is not read."""
        return 1.0

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, " users"]]:
        """Zeros, one a row of scores: programs know their number by it, so it is a round one."""
        return [jnp.zeros(rounded_rows(prefs.num_users))] * len(choices)

    def init(self, data: FitData, hyper: Float[Array, " users"], *, key: jax.Array) -> Scores:
        """Counts wins and losses."""
        return count_scores(data, len(hyper))

    def finish(self, state: Scores, data: FitData, hyper: Float[Array, " users"]) -> Scores:
        """The scores."""
        return state

    def predict(
        self,
        fitted: Scores,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: Float[Array, " users"],
    ) -> list[Prediction]:
        """By the votes of those who agree with the shots."""
        kappas = jnp.array([variant["kappa"] for variant in self.variants()], jnp.float32)

        def user(pairs: Pairs) -> Array:
            return neighbour_margins(fitted, pairs, pairs, kappas)

        predictions = []
        for bucket, roles in zip(data.buckets, fold, strict=True):
            pairs = Pairs(bucket.chosen, bucket.rejected, roles.shots)
            by_user = jax.tree.map(lambda leaf: jnp.asarray(leaf).T, pairs)
            margins = jax.lax.map(user, by_user, batch_size=USERS_AT_A_TIME)
            predictions.append(predicted(LOGISTIC, jnp.transpose(margins, (1, 2, 0))))
        return predictions

    def export(self, fitted: Scores, layout: Layout, prefs: Preferences) -> NearestUsersPredictor:
        """The scores of responses that were judged, by their embeddings."""
        (variant,) = self.variants()
        own = slice(prefs.num_users), slice(prefs.num_responses)  # the rest fills up
        score, judged = first_shard(fitted.score)[own], first_shard(fitted.judged)[own]
        known = judged.any(axis=0)
        keys = response_keys(prefs.embeddings)[known]
        return NearestUsersPredictor(score[:, known], judged[:, known], keys, variant["kappa"])
