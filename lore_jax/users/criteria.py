"""What an answer would be worth to one user, and the greedy choice of several questions.

A user's weights are a mixture of Gaussians, `sum_c share_c N(m_c, S_c)`; a Gaussian prior has one
component. The margin of a pair with features f is then `N(f.m_c, f' S_c f)` in each component, and
all that a criterion needs are one-dimensional integrals over these.

The integrals are sums over equally spaced nodes within five standard deviations. The trapezoidal
rule converges geometrically for functions as smooth as a sigmoid, whether the margin's standard
deviation is a tenth of a logit or eight, where as many Gauss-Hermite nodes miss the step.

Two stages. The integrals of all candidates would cost ten times their moments. So candidates are
ordered by a rational function of mean and variance that follows the criterion closely, and the
first of them are compared by their integrals.

Several questions. After each pick the covariance is that after its answer, which is not known: the
curvature is the expected one, `S - l S f f' S / (1 + l f' S f)`, `l = E[loss'']`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lore_jax.model.posterior import Components
from lore_jax.solvers.likelihood import Likelihood

Criterion = Literal["information", "variance", "v_optimal", "best_reply", "random"]
CRITERIA: tuple[str, ...] = get_args(Criterion)

_SHORTLIST = 16  # candidates whose integrals are computed
_NODES, _REACH = 33, 5.0  # of the integrals: how many, and how many standard deviations
_NEAR = 0.01  # features that differ by less of their length are one question
_TINY = 1e-12


class PairFeatures(NamedTuple):
    """Candidate pairs as a criterion sees them.

    Attributes:
        features: f, differences of rewards, `[c, rank]`.
        products: `f_a f_b` for `a <= b`, `[c, rank (rank + 1) / 2]`: a quadratic form of all
            candidates is one product of matrices.
    """

    features: Float[Array, "c rank"]
    products: Float[Array, "c products"]


class Targets(NamedTuple):
    """What the model will be asked later.

    Attributes:
        second_moment: mean of `f f'` over the target pairs, `[rank, rank]`.
        replies: rewards of the replies of which one will be picked, `[t, rank]`.
    """

    second_moment: Float[Array, "rank rank"]
    replies: Float[Array, "t rank"]


class Answer(NamedTuple):
    """What is expected of the answer to each of n questions.

    Attributes:
        probability: that the first response is chosen, `[n]`.
        information: mutual information of answer and weights, in nats, `[n]`.
        curvature: expected second derivative of the loss, in each component, `[components, n]`.
        shift: by how many of its standard deviations the margin's mean moves if the first response
            is chosen, and if the second is, `[2, n]`.
    """

    probability: Float[Array, " n"]
    information: Float[Array, " n"]
    curvature: Float[Array, "components n"]
    shift: Float[Array, "2 n"]


class Picks(NamedTuple):
    """The questions chosen for one user.

    Attributes:
        index: which candidates, `[count]`; -1 where none was left.
        probability: that the first response is chosen, `[count]`.
        gain: what the criterion expects of the answer, `[count]`.
    """

    index: Int[Array, " count"]
    probability: Float[Array, " count"]
    gain: Float[Array, " count"]


def pair_features(features: Float[Array, "*any rank"]) -> PairFeatures:
    """Features with their products.

    Example:
        >>> pair_features(jnp.array([[1.0, 2.0]])).products
        Array([[1., 2., 4.]], dtype=float32)
    """
    rows, columns = jnp.triu_indices(features.shape[-1])
    return PairFeatures(features, features[..., rows] * features[..., columns])


def _packed(matrix: Array) -> Array:
    """A symmetric matrix so that its product with `products` is the quadratic form."""
    rows, columns = jnp.triu_indices(matrix.shape[-1])
    times = jnp.where(rows == columns, 1.0, 2.0)
    return matrix[..., rows, columns] * times.reshape(*[1] * (matrix.ndim - 2), -1)


def expected_answers(
    likelihood: Likelihood,
    log_share: Float[Array, " components"],
    mean: Float[Array, "components n"],
    variance: Float[Array, "components n"],
) -> Answer:
    """What is expected of the answers to n questions with given margins.

    `information = H(E p) - E H(p)`, p the probability of each answer given the margin.

    Args:
        likelihood: how probable a choice is, given its margin.
        log_share: of the components.
        mean: of the margins in each component, in logits.
        variance: of the margins in each component.

    Returns:
        The `Answer`.

    Example:
        >>> from lore_jax.solvers.likelihood import LOGISTIC
        >>> sure = expected_answers(LOGISTIC, jnp.zeros(1), jnp.zeros((1, 1)), jnp.zeros((1, 1)))
        >>> abs(float(sure.information[0])) < 1e-6
        True

    Reference:
        Houlsby et al. 2011, arXiv 1112.5745, equation 2.
    """
    step = 2.0 * _REACH / (_NODES - 1)
    total = jnp.sum(jnp.exp(-0.5 * (jnp.arange(_NODES) * step - _REACH) ** 2))
    share, spread = jnp.exp(log_share)[:, None], jnp.sqrt(jnp.maximum(variance, 0.0))
    centre = jnp.sum(share * mean, axis=0)

    def add(node: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        x = node * step - _REACH
        weight = jnp.exp(-0.5 * x**2) / total
        margin = mean + spread * x
        curvature, others = jnp.zeros_like(margin), []
        for sign in (1.0, -1.0):  # the first is chosen, the second is
            loss = likelihood.loss(sign * margin)
            probability = jnp.exp(-loss)
            curvature += probability * likelihood.curvature(sign * margin)
            away = probability * (margin - centre[None])
            others += [
                jnp.sum(share * value, axis=0) for value in (probability, probability * loss, away)
            ]
        terms = (curvature, *others)
        return tuple(old + weight * term for old, term in zip(sums, terms, strict=True))

    none = jnp.zeros_like(centre)
    sums = jax.lax.fori_loop(0, _NODES, add, (jnp.zeros_like(mean), *[none] * 6))
    curvature, first, inside_first, away_first, second, inside_second, away_second = sums
    information = (
        jax.scipy.special.entr(first)
        + jax.scipy.special.entr(second)
        - inside_first
        - inside_second
    )
    apart = jnp.sum(share * (variance + (mean - centre[None]) ** 2), axis=0)
    deviation = jnp.sqrt(jnp.maximum(apart, _TINY))
    shift = [
        away / (jnp.maximum(p, _TINY) * deviation)
        for away, p in ((away_first, first), (away_second, second))
    ]
    return Answer(first, jnp.maximum(information, 0.0), curvature, jnp.stack(shift))


def merged(known: Components) -> tuple[Float[Array, " rank"], Float[Array, "rank rank"]]:
    """Mean and covariance of one user's weights over all components.

    Args:
        known: one user's components, without the users' axis.
    """
    share = jnp.exp(known.log_share)
    mean = share @ known.weights
    away = known.weights - mean[None]
    between = jnp.einsum("c,ci,cj->ij", share, away, away)
    return mean, jnp.einsum("c,cij->ij", share, known.covariance) + between


def next_questions(
    likelihood: Likelihood,
    known: Components,
    candidates: PairFeatures,
    available: Bool[Array, " c"],
    targets: Targets,
    key: Array,
    *,
    criterion: Criterion,
    count: int,
) -> Picks:
    """The next questions to one user, chosen one after the other.

    Args:
        likelihood: how probable a choice is, given its margin.
        known: the user's components, without the users' axis.
        candidates: the pairs.
        available: which of them may be asked.
        targets: for the criteria that have some.
        key: source of the random criterion.
        criterion: what is maximised.
        count: how many questions.

    Returns:
        The `Picks`.
    """

    def pick(
        state: tuple[Components, Array], number: Array
    ) -> tuple[tuple[Components, Array], Picks]:
        known, available = state
        noise = jax.random.fold_in(key, number)
        index, gain, answer = _best(
            likelihood, known, candidates, available, targets, noise, criterion
        )
        f = candidates.features[index]
        spread = jnp.einsum("cij,j->ci", known.covariance, f)
        per_variance = answer.curvature[:, 0] / (1.0 + answer.curvature[:, 0] * (spread @ f))
        taken = per_variance[:, None, None] * spread[:, :, None] * spread[:, None]
        found = jnp.any(available)
        covariance = jnp.where(found, known.covariance - taken, known.covariance)
        left = available & ~_same_question(candidates.features, f)
        chosen = Picks(
            jnp.where(found, index, -1),
            jnp.where(found, answer.probability[0], jnp.nan),
            jnp.where(found, gain, 0.0),
        )
        return (known._replace(covariance=covariance), left), chosen

    return jax.lax.scan(pick, (known, available), jnp.arange(count))[1]


def _same_question(features: Array, picked: Array) -> Array:
    """Which candidates ask what the picked one asks, in either direction."""
    size, length = jnp.sum(features**2, axis=1), jnp.sum(picked**2)
    return size + length - 2.0 * jnp.abs(features @ picked) <= _NEAR**2 * length


def _best(
    likelihood: Likelihood,
    known: Components,
    candidates: PairFeatures,
    available: Array,
    targets: Targets,
    key: Array,
    criterion: Criterion,
) -> tuple[Array, Array, Answer]:
    """Index, gain and answer `[.., 1]` of the best question."""
    mean, covariance = merged(known)
    margin = candidates.features @ mean
    variance = jnp.maximum(candidates.products @ _packed(covariance), 0.0)
    # f' S M S f: what an answer says of the targets, but for its own noise
    linked = covariance @ targets.second_moment @ covariance
    noise = jax.random.uniform(key, margin.shape) if criterion == "random" else margin
    curvature = _expected_curvature(margin, variance)
    order = {
        "information": lambda: _bell(margin, variance) * variance / (1.0 + variance / 8.0),
        "variance": lambda: variance,
        "v_optimal": lambda: (
            curvature * (candidates.products @ _packed(linked)) / (1.0 + curvature * variance)
        ),
        "best_reply": lambda: variance,
        "random": lambda: noise,
    }[criterion]()
    length = len(margin) if criterion == "best_reply" else min(_SHORTLIST, len(margin))
    order, index = jax.lax.top_k(jnp.where(available, order, -jnp.inf), length)

    few = jax.tree.map(lambda leaf: leaf[index], candidates)
    means = known.weights @ few.features.T
    variances = jnp.maximum(_packed(known.covariance) @ few.products.T, 0.0)
    answer = expected_answers(likelihood, known.log_share, means, variances)
    expected = jnp.sum(jnp.exp(known.log_share)[:, None] * answer.curvature, axis=0)
    gain = {
        "information": lambda: answer.information,
        "variance": lambda: variance[index],
        "v_optimal": lambda: (
            expected * (few.products @ _packed(linked)) / (1.0 + expected * variance[index])
        ),
        "best_reply": lambda: _gain_of_pick(
            targets.replies, mean, covariance, few.features, variance[index], answer
        ),
        "random": lambda: answer.information,
    }[criterion]()
    decides = order if criterion == "random" else gain
    best = jnp.argmax(jnp.where(order > -jnp.inf, decides, -jnp.inf))
    return index[best], gain[best], jax.tree.map(lambda leaf: leaf[..., best, None], answer)


def _expected_curvature(margin: Array, variance: Array) -> Array:
    """`E[s (1 - s)]` of a logistic margin, nearly, without a transcendental function."""
    return 0.25 * jax.lax.rsqrt(1.0 + 0.36 * variance) * _bell(margin, variance)


def _bell(margin: Array, variance: Array) -> Array:
    """`1 / cosh^2(x / 2)` by its series, x the margin as the probit approximation shrinks it."""
    shrunk = margin**2 / (1.0 + jnp.pi / 8.0 * variance)
    return 1.0 / (1.0 + shrunk / 4.0 * (1.0 + shrunk / 12.0 * (1.0 + shrunk / 30.0)))


def _gain_of_pick(
    replies: Array, mean: Array, covariance: Array, features: Array, variance: Array, answer: Answer
) -> Array:
    """By how much the answer is expected to raise the best reply's expected reward, `[n]`.

    The margin's mean moves by `shift sd`, and a reply's by its part of that, `g' S f / v`.
    """
    reward = replies @ mean
    along = replies @ covariance @ features.T / jnp.sqrt(jnp.maximum(variance, _TINY))[None]
    best = [jnp.max(reward[:, None] + along * shift[None], axis=0) for shift in answer.shift]
    after = answer.probability * best[0] + (1.0 - answer.probability) * best[1]
    return jnp.maximum(after - jnp.max(reward), 0.0)
