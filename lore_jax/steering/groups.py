"""One reply for several people, and whether the verdict is more than noise.

Rules of social choice, on the members' rewards of the candidates in one draw of the model. A
member's utility is the reward above that of the population's pick, in logits.

    mean        the highest mean utility
    maximin     the highest utility of the member who gains least
    Nash        the highest sum of log sigma(utility): the product of how probably each member
                prefers the reply to the population's pick
    approval    approved by most; a member approves of what is above the own mean of the candidates
    Borda       beats the most other candidates, summed over members
    Copeland    wins most, less loses most, of the majority votes between two candidates
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.steering.candidates import Candidates, draw_rewards, find_candidates
from lore_jax.users.predict import covariance_root

GroupRule = Literal["mean", "maximin", "Nash", "approval", "Borda", "Copeland"]
GROUP_RULES: tuple[GroupRule, ...] = get_args(GroupRule)


class Verdict(NamedTuple):
    """What a group gets by each rule, in the order of `GROUP_RULES`.

    Attributes:
        pick: position of the candidate whose score is highest on the average of the draws,
            `[rules]`; of several the first.
        row: its row in the embeddings, `[rules]`.
        score: each candidate's score, averaged over draws, `[rules, c]`.
        share: of the draws, in which each candidate wins, `[rules, c]`; equal ones share a draw.
        majority: that more than half of the members prefer candidate i to j, `[c, c]`; half the
            probability of a split vote is added.
        population: position of the population's pick.
    """

    pick: Int[np.ndarray, " rules"]
    row: Int[np.ndarray, " rules"]
    score: Float[np.ndarray, "rules c"]
    share: Float[np.ndarray, "rules c"]
    majority: Float[np.ndarray, "c c"]
    population: int

    @property
    def changes(self) -> Float[np.ndarray, " rules"]:
        """How often the winner is another one within what is not known."""
        return 1.0 - self.share[np.arange(len(self.pick)), self.pick]

    def decided(self, level: float = 0.9) -> Bool[np.ndarray, " rules"]:
        """Whether the pick wins in at least `level` of the draws; where not, it is noise."""
        if not 0.0 < level <= 1.0:
            raise ValueError(f"level is {level}: a probability above 0 and at most 1 is expected")
        return self.changes <= 1.0 - level + 1e-6

    def of(self, rule: GroupRule) -> int:
        """The position of the candidate that a rule picks."""
        return int(self.pick[GROUP_RULES.index(rule)])


def pick_for_group(
    model: Model,
    posterior: Posterior,
    embeddings: Any,
    candidates: ArrayLike | None = None,
    *,
    draws: int = 512,
    key: Key[Array, ""],
) -> Verdict:
    """Picks one of n replies for all members of a group, by every rule.

    Args:
        model: a fitted model.
        posterior: of the members (`Posterior.take` makes a group of many users).
        embeddings: table of responses, `[responses, dim]`.
        candidates: rows of the table, replies to one prompt, `[c]`; None: the whole table.
        draws: of the model; the basis is wrong for all members together.
        key: the one source of randomness.

    Returns:
        The `Verdict`.

    Raises:
        ValueError: there is no candidate or no member, `draws` is below 1, or as `best_of_n`.

    Example:
        >>> jury = posterior.take(np.arange(3))
        >>> verdict = pick_for_group(model, jury, prefs.embeddings, [0, 1], key=jax.random.key(0))
        >>> verdict.majority.shape
        (2, 2)

    Reference:
        Brandt et al. 2016, Handbook of Computational Social Choice, chapters 2 to 4 and 12.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}: 1 or more is expected")
    if candidates is not None and np.ndim(candidates) > 1:
        shape = np.shape(candidates)
        raise ValueError(
            f"candidates has shape {shape}: [c], the same for all members, is expected"
        )
    some = find_candidates(model, embeddings, candidates, posterior.num_users)
    covariance = posterior.covariance
    if covariance is None:
        covariance = jnp.zeros((*posterior.weights.shape, posterior.weights.shape[1]))
    root = covariance_root(covariance)
    score, share, majority = map(
        np.asarray, _over_draws(some, jnp.asarray(posterior.weights), root, key, draws)
    )
    pick = np.argmax(score, axis=1)
    population = int(some.population[0])
    return Verdict(pick, some.rows[pick], score, share, majority, population)


@jax.jit(static_argnames="draws")
def _over_draws(
    some: Candidates, weights: Array, root: Array, key: Array, draws: int
) -> tuple[Array, Array, Array]:
    def add(
        sums: tuple[Array, Array, Array], number: Array
    ) -> tuple[tuple[Array, Array, Array], None]:
        drawn = draw_rewards(some, weights, root, jax.random.fold_in(key, number))
        utility = drawn - jnp.take(drawn, jnp.asarray(some.population), axis=1)
        score, majority = group_scores(utility)
        wins = (score >= score.max(axis=1, keepdims=True) - 1e-6).astype(score.dtype)
        new = score, wins / wins.sum(axis=1, keepdims=True), majority
        return jax.tree.map(jnp.add, sums, new), None

    c = some.index.shape[0]
    rules = len(GROUP_RULES)
    nothing = jnp.zeros((rules, c)), jnp.zeros((rules, c)), jnp.zeros((c, c))
    sums, _ = jax.lax.scan(add, nothing, jnp.arange(draws))
    return jax.tree.map(lambda total: total / draws, sums)


def group_scores(
    utility: Float[Array, "members c"],
) -> tuple[Float[Array, "rules c"], Float[Array, "c c"]]:
    """Each candidate's score by every rule, and which beats which by a majority.

    Args:
        utility: the members' rewards above that of one reply, in logits.

    Returns:
        Scores in the order of `GROUP_RULES`, shares and means over members; and 1 where a majority
        prefers candidate i to j, 1/2 where the vote is split, else 0.

    Example:
        >>> scores, majority = group_scores(jnp.array([[0.0, 1.0], [0.0, 2.0], [0.0, -1.0]]))
        >>> majority[1, 0], scores[1]
        (Array(1., dtype=float32), Array([ 0., -1.], dtype=float32))
    """
    members, c = utility.shape
    # Votes for i against j, less those for j: whole numbers, so that a split vote is exactly 0.
    ahead = jnp.sign(utility[:, :, None] - utility[:, None, :]).sum(axis=0)
    majority = 0.5 * (1.0 + jnp.sign(ahead))
    approves = utility > utility.mean(axis=1, keepdims=True)
    scores = [
        utility.mean(axis=0),
        utility.min(axis=0),
        jax.nn.log_sigmoid(utility).mean(axis=0),
        approves.mean(axis=0),
        0.5 * (ahead.sum(axis=1) / members + c - 1.0),
        jnp.sign(ahead).sum(axis=1),
    ]
    return jnp.stack(scores), majority
