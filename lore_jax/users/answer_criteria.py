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

from collections.abc import Callable
from typing import Any, NamedTuple

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
_AT_ONCE = 1 << 14  # probabilities that a step of the integrals holds: a core's cache


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
    kind: Kind, rewards: Float[np.ndarray, "*c items rank"]
) -> Float[np.ndarray, "*c margins columns"]:
    """Features of the margins that an answer depends on; a last column for the intercept.

    On the host: a few numbers, for which no program has to be compiled.

    Args:
        kind: what the answer says.
        rewards: of the responses it is about.

    Returns:
        `[..., margins, rank + 1]`.

    Example:
        >>> margin_features(Kind("ranking", 4, places=3), np.ones((7, 4, 2))).shape
        (7, 3, 3)
    """
    alone = kind.name == "rating"
    apart = rewards if alone else rewards[..., :-1, :] - rewards[..., -1:, :]
    column = np.full((*apart.shape[:-1], 1), alone, apart.dtype)
    return np.concatenate([apart, column], axis=-1)


def log_probabilities(
    answers: AnswerModel, kind: Kind, margin: Float[Array, "margins n *any"]
) -> Float[Array, "outcomes n *any"]:
    """Log probability of every outcome, in the order of `AnswerProbabilities`.

    Args:
        answers: how people answer.
        kind: what the answer says.
        margin: as `margin_features` has them, `[margins, n, ...]`.

    Returns:
        `[outcomes, n, ...]`, in nats.
    """
    if not kind.levels:
        return _of_orders(answers, kind, margin)
    signs = (-1.0, 1.0) if kind.name == "pair" else (1.0,) * kind.levels
    axes = [1] * (margin.ndim - 1)
    losses = [
        answers.likelihood(kind, jnp.full(axes, level, jnp.int32)).loss(sign * margin[0])
        for level, sign in enumerate(signs)
    ]
    return -jnp.stack(losses)


def _of_orders(answers: AnswerModel, kind: Kind, margin: Array) -> Array:
    rewards = jnp.concatenate([margin, jnp.zeros_like(margin[:1])])
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


def nodes_at_once(kind: Kind, candidates: int) -> int:
    """How many nodes of the integrals about some candidates fit a core's cache; at least one.

    Example:
        >>> nodes_at_once(Kind("ranking", 4, places=3), 40), nodes_at_once(Kind("tie", 2, 3), 40)
        (16, 33)
    """
    nodes = len(_nodes(max(1, kind.num_items - 1))[1])
    most = min(nodes, max(1, _AT_ONCE // (kind.num_outcomes * candidates)))
    return max(size for size in range(1, most + 1) if nodes % size == 0)


def _integral(integrand: Callable[[Array], Any], kind: Kind, mean: Array, covariance: Array) -> Any:
    """`E[integrand(z)]`, `z ~ N(mean, covariance)`, some nodes at a time.

    Args:
        integrand: of margins `[margins, nodes, ...]`, to arrays `[..., nodes, ...]` whose last axes
            are those of `mean` behind its first.
        kind: whose margins.
        mean: `[margins, ...]`.
        covariance: `[margins, margins, ...]`.
    """
    margins, rest = len(mean), [1] * (mean.ndim - 1)
    diagonal = _LEAST * jnp.eye(margins).reshape(margins, margins, *rest)
    root = cholesky(covariance + diagonal, least=jnp.full_like(mean, _LEAST))

    def some(at: tuple[Array, Array]) -> Any:
        along, weight = at[0].reshape(margins, -1, *rest), at[1].reshape(-1, *rest)
        margin = [
            sum((root[i, j][None] * along[j] for j in range(i + 1)), mean[i][None])
            for i in range(margins)
        ]
        each = integrand(jnp.stack(margin))
        return jax.tree.map(lambda value: value * jnp.broadcast_to(weight, value.shape), each)

    node, weight = _nodes(margins)
    size = nodes_at_once(kind, mean[0].size)
    blocks = node.reshape(-1, size, margins).transpose(0, 2, 1), weight.reshape(-1, size)
    blocks = jax.tree.map(jnp.asarray, blocks)
    shapes = jax.eval_shape(some, jax.tree.map(lambda block: block[0], blocks))
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    # Nodes are added up last: with users in front XLA's CPU backend reduces number by number.
    each = jax.lax.scan(
        lambda sums, at: (jax.tree.map(jnp.add, sums, some(at)), None), nothing, blocks
    )[0]
    return jax.tree.map(lambda value: jnp.sum(value, axis=-1 - len(rest)), each)


def expected_answer(
    answers: AnswerModel,
    kind: Kind,
    mean: Float[Array, "margins *c"],
    covariance: Float[Array, "margins margins *c"],
) -> tuple[Float[Array, "outcomes *c"], Float[Array, "*c"]]:
    """Probability of every outcome of an answer, and what it says of the weights.

    Args:
        answers: how people answer.
        kind: what the answer says.
        mean: of the margins, in logits; candidates, if any, in trailing axes.
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

    def integrand(margin: Array) -> tuple[Array, Array]:
        log_probability = log_probabilities(answers, kind, margin)
        probability = jnp.exp(log_probability)
        return probability, probability * log_probability

    probability, inside = _integral(integrand, kind, mean, covariance)
    information = jnp.sum(jax.scipy.special.entr(probability) + inside, axis=0)
    return probability, jnp.maximum(information, 0.0)


def expected_hessian(
    answers: AnswerModel,
    kind: Kind,
    mean: Float[Array, " margins"],
    covariance: Float[Array, "margins margins"],
) -> Float[Array, "margins margins"]:
    """`E[sum_o p_o g_o g_o']`; the arguments are those of `expected_answer`, of one candidate."""

    def integrand(margin: Array) -> Array:
        def along(direction: Array) -> tuple[Array, Array]:
            tangent = jnp.broadcast_to(direction[:, None], margin.shape)
            return jax.jvp(lambda z: log_probabilities(answers, kind, z), (margin,), (tangent,))

        log_probability, gradient = jax.vmap(along, out_axes=(None, 0))(jnp.eye(len(margin)))
        pulled = gradient * jnp.exp(log_probability)[None]
        return jnp.einsum("ion,jon->ijn", gradient, pulled)

    return _integral(integrand, kind, mean, covariance)


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

    def pick(covariance: Array, available: Array) -> tuple[AnswerPicks, tuple[Array, Array]]:
        """The best question, and the moments of its margins."""
        means = jnp.einsum("cer,r->ec", candidates, mean)
        spread = jnp.einsum("cer,rs,cfs->efc", candidates, covariance, candidates)
        probability, information = expected_answer(answers, kind, means, spread)
        best, found = jnp.argmax(jnp.where(available, information, -1.0)), jnp.any(available)
        chosen = AnswerPicks(
            jnp.where(found, best, -1),
            jnp.where(found, information[best], 0.0),
            probability[:, best],
        )
        return chosen, (means[:, best], spread[..., best])

    def after(covariance: Array, chosen: AnswerPicks, moments: tuple[Array, Array]) -> Array:
        """The covariance that is expected after the answer."""
        hessian = expected_hessian(answers, kind, *moments)
        along = candidates[chosen.index] @ covariance
        inside = jnp.eye(len(hessian)) + hessian @ moments[1]
        taken = along.T @ jnp.linalg.solve(inside, hessian @ along)
        return covariance - jnp.where(chosen.index >= 0, 0.5 * (taken + taken.T), 0.0)

    def step(state: tuple[Array, Array], last: None) -> tuple[tuple[Array, Array], AnswerPicks]:
        covariance, available = state
        chosen, moments = pick(covariance, available)
        left = available.at[chosen.index].set(False)
        return (after(covariance, chosen, moments), left), chosen

    if count == 1:  # no answer is waited for
        chosen, _ = pick(covariance, available)
        return jax.tree.map(lambda leaf: leaf[None], chosen)
    return jax.lax.scan(step, (covariance, available), length=count)[1]
