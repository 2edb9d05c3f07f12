"""How people answer, given rewards: cut points and tie parameters, the same for everybody.

Every scale (strengths of five levels, ratings of seven) has parameters without bounds, from which
its cut points follow in order: strengths' are symmetric about 0, for nobody knows which response
will stand first; those of ratings begin anywhere and go on by exponentials.

A user who rates has an intercept of the user's own, `b_u ~ N(0, tau^2)`: a rating is of `r + b_u`.
It is one more feature with its own prior, 1 for ratings and 0 for whatever compares.

Users have no scale of their own. It would stretch their cut points, `s_u a_k` in place of a_k,
which is linear in s: the loss of a rating is then three convex functions of three linear ones (a
logistic loss for each cut point beside the level, and `-log(1 - exp(-s (u - l)))` between them), so
that the mode is one and Newton's method finds it. But the features of a rating would hold cut
points, which the M step moves, and a rating would be three margins instead of one. What an
intercept alone loses is measured by `experiments/rating_scale.py`: where log s has a standard
deviation of 0.4, at most 0.3 points of pairs and .03 to .05 nats a rating, nothing where it has 0.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import logit

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers, Feedback
from lore_jax.parallel.pytree import pytree, static
from lore_jax.solvers.lapse import Lapse
from lore_jax.solvers.likelihood import LOGISTIC, AnswerLikelihood, Likelihood
from lore_jax.solvers.ordinal import cumulative_logit
from lore_jax.solvers.ranking_chain import RankingChain
from lore_jax.solvers.rankings import Ranking, pairs_of
from lore_jax.solvers.ties import Davidson

Ties = Literal["davidson", "rao-kupper"]
_LEAST_GAP = 0.05  # of two cut points where a level never occurs, in logits


@pytree
class AnswerModel:
    """What turns rewards into answers of every kind; a pytree.

    Attributes:
        free: the parameters of each scale, without bounds (`cuts_of` reads them).
        intercept: tau, the standard deviation of users' intercepts of ratings, in logits.
        ties: which model ties follow (static).
        lapse: the share of answers at random (static); 0: none.

    Example:
        >>> begin_answers(feedback).cuts("rating 5").shape
        (4,)
    """

    free: dict[str, Float[Array, " _parameters"]]
    intercept: Float[Array, ""]
    ties: Ties = static(default="davidson")
    lapse: float = static(default=0.0)

    def cuts(self, scale: str) -> Float[Array, " cuts"]:
        """The cut points of a scale with levels, in logits; of ties: Rao and Kupper's."""
        name, _, levels = scale.partition(" ")
        return cuts_of(self.free[scale], int(levels), symmetric=name != "rating")

    def newton_likelihood(
        self, kind: Kind, outcome: Int[Array, "answers *users"]
    ) -> Likelihood | AnswerLikelihood:
        """The same as `likelihood` for Newton's method alone, at less cost where it can be had.

        Args:
            kind: what they say.
            outcome: the level of each.

        Returns:
            The likelihood of margins `[answers * num_entries(..., neighbours=True), ...]`.
        """
        if not self.lapse and not kind.levels:
            return RankingChain(*places_of(kind))
        return self.likelihood(kind, outcome)

    def likelihood(self, kind: Kind, outcome: Int[Array, "answers *users"]) -> Likelihood:
        """The likelihood of answers of one kind, by entries (`num_entries` an answer).

        Args:
            kind: what they say.
            outcome: the level of each.

        Returns:
            The likelihood of margins `[answers * num_entries, ...]`.
        """
        if kind.name == "pair":
            meant: Likelihood = LOGISTIC
        elif not kind.levels:
            meant = Ranking(*places_of(kind))
        elif kind.name == "tie" and self.ties == "davidson":
            meant = Davidson(outcome, self.free[kind.scale][0])
        else:
            meant = cumulative_logit(outcome, self.cuts(kind.scale))
        if not self.lapse:
            return meant
        return Lapse(meant, jnp.asarray(self.lapse), kind.num_outcomes, num_entries(kind))


def places_of(kind: Kind) -> tuple[int, int, bool]:
    """Responses of a ranking or best-worst choice, places said, and whether the worst was.

    Example:
        >>> places_of(Kind("best_worst", 4))
        (4, 1, True)
    """
    worst = kind.name == "best_worst"
    return kind.num_items, 1 if worst else kind.places, worst


def num_entries(kind: Kind, *, neighbours: bool = False) -> int:
    """How many margins stand for an answer: 1, of rankings one for each pair.

    Args:
        kind: what it says.
        neighbours: of rankings only those of neighbours, in the order that was said.

    Example:
        >>> ranking = Kind("ranking", 4, places=3)
        >>> num_entries(ranking), num_entries(ranking, neighbours=True)
        (6, 3)
    """
    if kind.levels:
        return 1
    return kind.num_items - 1 if neighbours else len(pairs_of(kind.num_items))


def cuts_of(
    free: Float[Array, " parameters"], levels: int, *, symmetric: bool
) -> Float[Array, " cuts"]:
    """Increasing cut points from parameters without bounds.

    Symmetric: the logarithms of the gaps from the middle outwards. Otherwise the first cut point,
    then the logarithms of the gaps.

    Args:
        free: `[(levels - 1) / 2]` (rounded down) where symmetric, else `[levels - 1]`.
        levels: how many levels the cut points divide.
        symmetric: about 0.

    Returns:
        `[levels - 1]`.

    Example:
        >>> cuts_of(jnp.zeros(2), 5, symmetric=True).tolist()
        [-2.0, -1.0, 1.0, 2.0]
    """
    if not symmetric:
        return free[0] + jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.exp(free[1:]))])
    outwards = jnp.cumsum(jnp.exp(free[: (levels - 1) // 2]))
    middle = jnp.zeros((levels - 1) % 2)
    return jnp.concatenate([-outwards[::-1], middle, outwards])


def begin_answers(
    feedback: Feedback, *, ties: Ties = "davidson", lapse: float = 0.0, intercept: float = 1.0
) -> AnswerModel:
    """An answer model from how often each level occurs, as if all rewards were equal.

    Args:
        feedback: whose scales.
        ties: "davidson" or "rao-kupper".
        lapse: the share of answers at random, from 0 and below 1.
        intercept: standard deviation of users' intercepts, in logits; 0: nobody has one.

    Returns:
        The answer model.

    Raises:
        ValueError: an option is out of range, or all answers of a scale have one level, from which
            no cut point can be learned.

    Example:
        >>> begin_answers(feedback, ties="rao-kupper").free["tie 3"].shape
        (1,)
    """
    if ties not in ("davidson", "rao-kupper"):
        raise ValueError(f"ties is {ties!r}: davidson or rao-kupper is expected")
    if not 0.0 <= lapse < 1.0:
        raise ValueError(f"lapse is {lapse}: a share from 0 and below 1 is expected")
    if not intercept >= 0.0:
        raise ValueError(f"intercept is {intercept}: 0 or more is expected")
    free = {}
    for block in feedback.blocks:
        kind = block.kind
        if not kind.levels or kind.name == "pair":
            continue
        _refuse_one_level(block)
        count = np.bincount(block.outcome, minlength=kind.levels) + 0.5
        if kind.name != "rating":
            count = count + count[::-1]
        share = count / count.sum()
        if kind.name == "tie" and ties == "davidson":
            free[kind.scale] = jnp.log(2.0 * share[1:2] / (1.0 - share[1:2]))
            continue
        cuts = logit(np.cumsum(share)[:-1])
        free[kind.scale] = jnp.asarray(_free_of(cuts, symmetric=kind.name != "rating"))
    return AnswerModel(free, jnp.asarray(float(intercept)), ties, lapse)


def _free_of(cuts: np.ndarray, *, symmetric: bool) -> np.ndarray:
    """The inverse of `cuts_of`."""
    if symmetric:
        upper = cuts[(len(cuts) + 1) // 2 :]
        gaps = np.diff(np.concatenate([[0.0], upper]))
        return np.log(np.maximum(gaps, _LEAST_GAP))
    gaps = np.log(np.maximum(np.diff(cuts), _LEAST_GAP))
    return np.concatenate([cuts[:1], gaps])


def _refuse_one_level(block: Answers) -> None:
    """Cut points cannot be learned where everything was said to be the same."""
    kind, levels = block.kind, np.unique(block.outcome)
    is_middle = 2 * levels[0] == kind.levels - 1
    if len(levels) == 1 and (kind.name == "rating" or is_middle):
        said = "ties" if kind.name == "tie" else f"level {levels[0] + 1}"
        raise ValueError(f"all {len(block):,} {kind} are {said}: two levels or more are expected")
