"""Nearest users: a new user's choices are those of the users of the fit who agreed so far.

A user v of the fit has a score of every response judged, (wins - losses) / (wins + losses + 1), and
prefers of two such responses the one with the higher score. With the agreements a and disagreements
b of v with the shots of user u (on pairs of which v judged both responses),

    similarity  s_uv = max(0, (a - b) / (a + b + 5)),
    P(chosen) = (kappa p_0 + sum_v s_uv^2 [v prefers it]) / (kappa + sum_v s_uv^2),

the sums over users who judged both responses, a tie counting half. p_0 is the population's vote,
(1 + number of users who prefer it) / (2 + number of users who judged both), and what is predicted
without shots; kappa, how many alike users it is worth, is chosen on validation. The margin is the
log odds.

A response is recognised by its embedding, wherever it stands in a table; of one that was in no pair
of the fit nobody says anything, and the prediction is a coin: for known items alone.

Reference:
    Herlocker, Konstan, Borchers and Riedl 1999, "An algorithmic framework for performing
    collaborative filtering" (similarity shrunk by the number of items in common).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, FoldWeights, Info, Prediction, Stage, predicted
from lore_jax.methods.checks import check_positive
from lore_jax.methods.rivals.pair_slots import pair_slots
from lore_jax.methods.rivals.unsaved import Unsaved
from lore_jax.model.model import find_responses, response_keys
from lore_jax.parallel.buckets import FitData, Layout
from lore_jax.parallel.devices import first_shard, total
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.users.predict import Margins

KAPPAS = (10.0, 3.0, 1.0, 0.3)
MOST_SCORES = 2**26  # users x responses: a quarter of a gigabyte

_SHRINKAGE = 5.0  # pairs in common at which half of an agreement is believed
_USERS_AT_A_TIME = 8


@flax.struct.dataclass
class Scores:
    """What the users of the fit think of responses.

    Attributes:
        score: in (-1, 1), `[users, responses]`.
        judged: 1 where a user judged a response, else 0, `[users, responses]`.
    """

    score: Float[Array, "*shards users responses"]
    judged: Float[Array, "*shards users responses"]


def votes(
    scores: Scores, chosen: Array, rejected: Array
) -> tuple[Float[Array, "users pairs"], Float[Array, "users pairs"]]:
    """Of each user of the fit on each pair: 1, 1/2 or 0 for the chosen side, and whether one votes.

    Example:
        >>> scores = Scores(jnp.array([[0.5, -0.5, 0.0]]), jnp.array([[1.0, 1.0, 0.0]]))
        >>> vote, counts = votes(scores, jnp.array([1, 0]), jnp.array([0, 2]))
        >>> vote[0].tolist(), counts[0].tolist()
        ([0.0, 1.0], [1.0, 0.0])
    """
    difference = scores.score[:, chosen] - scores.score[:, rejected]
    return 0.5 * (1.0 + jnp.sign(difference)), scores.judged[:, chosen] * scores.judged[:, rejected]


def neighbour_margins(
    scores: Scores,
    shots: tuple[Array, Array, Array],
    tests: tuple[Array, Array],
    kappas: Float[Array, " variants"],
) -> Float[Array, "variants tests"]:
    """Log odds of one user's test pairs, for each kappa.

    Args:
        scores: of the users of the fit.
        shots: rows chosen and rejected, and weights, 0 for padding, `[shots]`.
        tests: rows chosen and rejected, `[tests]`.
        kappas: what the population is worth.
    """
    vote, counts = votes(scores, *shots[:2])
    counts = counts * shots[2][None]
    agreement = jnp.sum((2.0 * vote - 1.0) * counts, axis=1)
    common = jnp.sum(jnp.abs(2.0 * vote - 1.0) * counts, axis=1)
    weight = jnp.maximum(agreement / (common + _SHRINKAGE), 0.0) ** 2
    vote, counts = votes(scores, *tests)
    population = (1.0 + jnp.sum(vote * counts, axis=0)) / (2.0 + jnp.sum(counts, axis=0))
    for_it, all_ = weight @ (vote * counts), weight @ counts
    against, kappas = all_ - for_it, kappas[:, None]
    prior = kappas * population[None]
    return jnp.log(prior + for_it[None]) - jnp.log(kappas - prior + against[None])


@dataclasses.dataclass(frozen=True)
class NearestUsersConfig:
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

    @property
    def loss_unit(self) -> str:
        """No step is taken."""
        return "nats a pair"

    @property
    def by_inner_products(self) -> bool:
        """The table is not read."""
        return False

    @property
    def num_minibatches(self) -> int:
        """Everything is counted at once."""
        return 1

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
        """Zeros, one a user of the fit: programs know their number by it."""
        return [jnp.zeros(prefs.num_users)] * len(choices)

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """None."""
        return 0

    def init(self, data: FitData, hyper: Float[Array, " users"], *, key: jax.Array) -> Scores:
        """Counts wins and losses."""
        empty = jnp.zeros((len(hyper), data.embeddings.shape[0]))
        balance, number = empty, empty
        for bucket, ids in zip(data.buckets, data.users.buckets, strict=True):
            user = jnp.broadcast_to(jnp.maximum(jnp.asarray(ids), 0)[None], bucket.chosen.shape)
            counts = (jnp.asarray(bucket.pair_weight) > 0).astype(jnp.float32)
            for side, sign in ((bucket.chosen, 1.0), (bucket.rejected, -1.0)):
                balance = balance.at[user, side].add(sign * counts)
                number = number.at[user, side].add(counts)
        balance, number = total((balance, number))
        return Scores(balance / (number + 1.0), (number > 0).astype(jnp.float32))

    def step(
        self, state: Scores, data: FitData, hyper: Float[Array, " users"]
    ) -> tuple[Scores, Info]:
        """Is never taken."""
        return state, Info(jnp.zeros(()), jnp.zeros(()))

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

        def user(slots: tuple[Array, Array, Array]) -> Array:
            return neighbour_margins(fitted, slots, slots[:2], kappas)

        predictions = []
        for bucket, roles in zip(data.buckets, fold, strict=True):
            slots = bucket.chosen, bucket.rejected, roles.shots
            by_user = jax.tree.map(lambda leaf: jnp.asarray(leaf).T, slots)
            margins = jax.lax.map(user, by_user, batch_size=_USERS_AT_A_TIME)
            predictions.append(predicted(LOGISTIC, jnp.transpose(margins, (1, 2, 0))))
        return predictions

    def export(self, fitted: Scores, layout: Layout, prefs: Preferences) -> NearestUsersPredictor:
        """The scores of responses that were judged, by their embeddings."""
        (variant,) = self.variants()
        own = slice(prefs.num_responses)  # the table may be filled up
        score, judged = first_shard(fitted.score)[:, own], first_shard(fitted.judged)[:, own]
        known = judged.any(axis=0)
        keys = response_keys(prefs.embeddings)[known]
        return NearestUsersPredictor(score[:, known], judged[:, known], keys, variant["kappa"])


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
        # Responses that nobody judged share a last column, in which nobody votes.
        nobody = np.zeros((len(self.score), 1), np.float32)
        scores = Scores(*(jnp.asarray(np.hstack([x, nobody])) for x in (self.score, self.judged)))
        sides = []
        for prefs in (shots, test):
            row = find_responses(self.keys, response_keys(prefs.embeddings))
            row = np.where(row >= 0, row, len(self.keys)).astype(np.int32)
            sides.append((row[prefs.chosen], row[prefs.rejected]))
        given, pairs = _slots(shots), _slots(test)
        weight = np.where(given >= 0, shots.pair_weight[given], 0.0) if shots.num_pairs else given
        margin = _margins(
            scores,
            *(_at(side, given) for side in sides[0]),
            np.maximum(weight, 0.0).astype(np.float32),
            *(_at(side, pairs) for side in sides[1]),
            np.float32(self.kappa),
        )
        mean = np.zeros(test.num_pairs, np.float32)
        mean[pairs[pairs >= 0]] = np.asarray(margin)[: len(pairs)][pairs >= 0]
        return Margins(mean, np.zeros_like(mean))

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """The same: a user of the fit is known by the training pairs, which are the shots."""
        return self.adapted(shots, test)


def _slots(prefs: Preferences) -> np.ndarray:
    """Where each user's pairs stand, `[users, longest]`; -1 for padding."""
    most = int(prefs.pairs_per_user().max(initial=0))
    longest = max(32, 1 << max(most - 1, 0).bit_length())  # few programs
    return pair_slots(prefs, np.arange(prefs.num_users), longest)


def _at(rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Rows at slots; padding gets 0."""
    padded = np.concatenate([rows, np.zeros(1, np.int32)])
    return padded[slots]


@jax.jit
def _margins(
    scores: Scores,
    chosen: Array,
    rejected: Array,
    weight: Array,
    test_chosen: Array,
    test_rejected: Array,
    kappa: Array,
) -> Array:
    """Log odds `[users, tests]`."""

    def user(slots: tuple[Array, ...]) -> Array:
        return neighbour_margins(scores, slots[:3], slots[3:], kappa[None])[0]  # pyright: ignore[reportArgumentType]

    slots = chosen, rejected, weight, test_chosen, test_rejected
    return jax.lax.map(user, slots, batch_size=_USERS_AT_A_TIME)
