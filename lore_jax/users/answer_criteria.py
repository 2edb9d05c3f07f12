"""What an answer other than a strict pair would be worth to one user: ties, ratings, rankings.

What an answer depends on are e margins z, Gaussian under the user's posterior: one of a pair, a tie
or a strength; the reward of a rated response with the user's intercept; of rankings the rewards
less that of the last response. The mutual information of the answer and the weights is

    H(E p) - E H(p),        p the probabilities of all outcomes given z.

Of one margin the integrals are sums over equally spaced nodes, as in `users/criteria.py`; of
several, means over a lattice (`solvers/quadrature.py`).

Several questions. After each pick the covariance is that after its answer, which is not known: the
Hessian is the expected one, `C = E[sum_o p_o g_o g_o']`, g_o the gradient of outcome o's loss in z
(Fisher's information, which is the expected Hessian), and with F the features of the margins

    S - S F' (I + C F S F')^-1 C F S.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel
from lore_jax.solvers.cholesky import cholesky
from lore_jax.solvers.lapse import Lapse
from lore_jax.solvers.quadrature import normal_lattice
from lore_jax.solvers.rankings import Ranking
from lore_jax.users.answering import outcomes_of

_NODES, _REACH = 33, 5.0  # of one margin: how many, and how many standard deviations
_LEAST = 1e-8  # variance of a margin


class AnswerPicks(NamedTuple):
    """The questions chosen for one user.

    Attributes:
        index: which candidates, `[count]`; -1 where none was left.
        information: mutual information of the answer and the weights, in nats, `[count]`.
        probability: of every outcome, `[count, outcomes]`.
    """

    index: Int[Array, " count"]
    information: Float[Array, " count"]
    probability: Float[Array, "count outcomes"]


def margin_features(
    kind: Kind, rewards: Float[Array, "*c items rank"]
) -> Float[Array, "*c margins columns"]:
    """Features of the margins that an answer depends on; a last column for the intercept.

    Args:
        kind: what the answer says.
        rewards: of the responses it is about.

    Returns:
        `[..., margins, rank + 1]`.

    Example:
        >>> margin_features(Kind("ranking", 4, places=3), jnp.ones((7, 4, 2))).shape
        (7, 3, 3)
    """
    alone = kind.name == "rating"
    apart = rewards if alone else rewards[..., :-1, :] - rewards[..., -1:, :]
    column = jnp.full((*apart.shape[:-1], 1), float(alone))
    return jnp.concatenate([apart, column], axis=-1)


def log_probabilities(
    answers: AnswerModel, kind: Kind, margin: Float[Array, "n margins"]
) -> Float[Array, "n outcomes"]:
    """Log probability of every outcome, in the order of `AnswerProbabilities`.

    Args:
        answers: how people answer.
        kind: what the answer says.
        margin: as `margin_features` has them, `[n, margins]`.

    Returns:
        `[n, outcomes]`, in nats.
    """
    if not kind.levels:
        return _of_orders(answers, kind, margin)
    z = margin[:, 0]
    level = [jnp.full(z.shape, level, jnp.int32) for level in range(kind.levels)]
    signs = (-1.0, 1.0) if kind.name == "pair" else (1.0,) * kind.levels
    losses = [
        answers.likelihood(kind, said).loss(sign * z)
        for said, sign in zip(level, signs, strict=True)
    ]
    return -jnp.stack(losses, axis=1)


def _of_orders(answers: AnswerModel, kind: Kind, margin: Array) -> Array:
    rewards = jnp.concatenate([margin, jnp.zeros((len(margin), 1))], axis=1)
    meant = likelihood = answers.likelihood(kind, jnp.zeros((1, 1), jnp.int32))
    if isinstance(likelihood, Lapse):
        meant = likelihood.meant
    assert isinstance(meant, Ranking)
    found = meant.of_orders(rewards, np.array(outcomes_of(kind)))
    return likelihood.mixed(found) if isinstance(likelihood, Lapse) else found


def _nodes(margins: int) -> tuple[Float[np.ndarray, "nodes margins"], Float[np.ndarray, " nodes"]]:
    """Where `N(0, I)` is looked at, and how much each point counts."""
    if margins == 1:
        node = np.linspace(-_REACH, _REACH, _NODES, dtype=np.float32)
        weight = np.exp(-0.5 * node**2)
        return node[:, None], weight / weight.sum()
    node = normal_lattice(margins)
    return node, np.full(len(node), 1.0 / len(node), np.float32)


def expected_answer(
    answers: AnswerModel,
    kind: Kind,
    mean: Float[Array, " margins"],
    covariance: Float[Array, "margins margins"],
) -> tuple[Float[Array, " outcomes"], Float[Array, ""]]:
    """Probability of every outcome of an answer, and what it says of the weights.

    Args:
        answers: how people answer.
        kind: what the answer says.
        mean: of the margins, in logits.
        covariance: of the margins.

    Returns:
        Probabilities, and mutual information in nats.

    Example:
        >>> _, sure = expected_answer(
        ...     begin_answers(feedback), Kind("pair", 2, levels=2), jnp.ones(1), jnp.zeros((1, 1))
        ... )
        >>> abs(float(sure)) < 1e-4
        True

    Reference:
        Houlsby et al. 2011, arXiv 1112.5745, equation 2.
    """
    root = _root(covariance)

    def add(sums: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        log_probability = log_probabilities(answers, kind, (mean + root @ at[0])[None])[0]
        probability = jnp.exp(log_probability)
        inside = jnp.sum(probability * log_probability)
        return (sums[0] + at[1] * probability, sums[1] + at[1] * inside), None

    node, weight = map(jnp.asarray, _nodes(len(mean)))
    start = jnp.zeros(kind.num_outcomes), jnp.zeros(())
    (probability, inside), _ = jax.lax.scan(add, start, (node, weight))
    information = jnp.sum(jax.scipy.special.entr(probability)) + inside
    return probability, jnp.maximum(information, 0.0)


def expected_hessian(
    answers: AnswerModel,
    kind: Kind,
    mean: Float[Array, " margins"],
    covariance: Float[Array, "margins margins"],
) -> Float[Array, "margins margins"]:
    """`E[sum_o p_o g_o g_o']`; the arguments are those of `expected_answer`."""
    root = _root(covariance)

    def log_probability(z: Array) -> Array:
        return log_probabilities(answers, kind, z[None])[0]

    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        z = mean + root @ at[0]
        gradient, probability = jax.jacfwd(log_probability)(z), jnp.exp(log_probability(z))
        return total + at[1] * (gradient.T * probability[None]) @ gradient, None

    node, weight = map(jnp.asarray, _nodes(len(mean)))
    return jax.lax.scan(add, jnp.zeros_like(covariance), (node, weight))[0]


def _root(covariance: Array) -> Array:
    least = jnp.full(len(covariance), _LEAST)
    return cholesky(covariance + jnp.diag(least), least=least)


def next_answers(
    answers: AnswerModel,
    kind: Kind,
    mean: Float[Array, " columns"],
    covariance: Float[Array, "columns columns"],
    candidates: Float[Array, "c margins columns"],
    available: Bool[Array, " c"],
    *,
    count: int,
) -> AnswerPicks:
    """The most informative questions to one user, chosen one after the other.

    Args:
        answers: how people answer.
        kind: what is asked.
        mean: of the user's weights and, last, of the intercept.
        covariance: of both.
        candidates: features of the margins (`margin_features`).
        available: which of them may be asked.
        count: how many questions.

    Returns:
        The `AnswerPicks`.
    """

    def pick(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], AnswerPicks]:
        covariance, available = state
        means = candidates @ mean
        spread = jnp.einsum("cer,rs,cfs->cef", candidates, covariance, candidates)
        probability, information = jax.vmap(expected_answer, (None, None, 0, 0))(
            answers, kind, means, spread
        )
        best, found = jnp.argmax(jnp.where(available, information, -1.0)), jnp.any(available)
        hessian = expected_hessian(answers, kind, means[best], spread[best])
        along = candidates[best] @ covariance
        inside = jnp.eye(len(hessian)) + hessian @ spread[best]
        taken = along.T @ jnp.linalg.solve(inside, hessian @ along)
        chosen = AnswerPicks(
            jnp.where(found, best, -1),
            jnp.where(found, information[best], 0.0),
            probability[best],
        )
        left = covariance - jnp.where(found, 0.5 * (taken + taken.T), 0.0)
        return (left, available.at[best].set(False)), chosen

    return jax.lax.scan(pick, (covariance, available), length=count)[1]
