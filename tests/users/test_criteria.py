"""What an answer is worth, against integrals by scipy and a greedy choice written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import entr, expit

from lore_jax.model.posterior import Components
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.users.criteria import Targets, expected_answers, next_questions, pair_features

RANK, CANDIDATES, COMPONENTS = 3, 12, 2
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(CANDIDATES, RANK))
ROOT = RNG.normal(size=(COMPONENTS, RANK, RANK))
MEANS = RNG.normal(size=(COMPONENTS, RANK))
COVARIANCE = ROOT @ ROOT.transpose(0, 2, 1)
LOG_SHARE = np.log([0.3, 0.7])
TARGET_PAIRS = RNG.normal(size=(5, RANK))
REPLIES = RNG.normal(size=(4, RANK))
NODE = np.linspace(-9, 9, 4001)
DENSITY = np.exp(-(NODE**2) / 2) / np.exp(-(NODE**2) / 2).sum()

ANSWERS = jax.jit(expected_answers)


def numbers(log_share, mean, variance):
    """Probability, information and curvature of questions `[components, n]`, in float64."""
    z = mean[..., None] + np.sqrt(variance)[..., None] * NODE
    p, share = expit(z), np.exp(log_share)[:, None]
    probability = np.sum(share * (p @ DENSITY), axis=0)
    doubt = np.sum(share * ((entr(p) + entr(1 - p)) @ DENSITY), axis=0)
    information = entr(probability) + entr(1 - probability) - doubt
    return probability, information, (p * (1 - p)) @ DENSITY


# At eight logits the nodes are 2.5 logits apart.
@pytest.mark.parametrize(
    ("spread", "atol"), [(0.0, 5e-4), (0.1, 5e-4), (1.0, 5e-4), (4.0, 5e-4), (8.0, 1e-3)]
)
def test_integrals_against_a_fine_grid(spread, atol):
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(COMPONENTS, 20)) * 2
    variance = spread**2 * rng.uniform(0.5, 1.0, size=mean.shape)
    found = ANSWERS(LOGISTIC, jnp.asarray(LOG_SHARE), mean, variance)
    probability, information, curvature = numbers(LOG_SHARE, mean, variance)
    np.testing.assert_allclose(found.probability, probability, atol=atol)
    np.testing.assert_allclose(found.information, information, atol=atol)
    np.testing.assert_allclose(found.curvature, curvature, atol=atol)


def test_the_mean_after_an_answer_against_a_grid():
    mean, variance = np.array([[0.7]]), np.array([[2.5]])
    found = ANSWERS(LOGISTIC, jnp.zeros(1), mean, variance)
    z = 0.7 + np.sqrt(2.5) * NODE
    for shift, p in zip(found.shift[:, 0], (expit(z), expit(-z)), strict=True):
        after = (p * z) @ DENSITY / (p @ DENSITY)
        assert shift == pytest.approx((after - 0.7) / np.sqrt(2.5), abs=1e-3)


def greedy(criterion, count):
    """Indices chosen by brute force: every candidate's gain, in float64."""
    covariance, available, picked, share = COVARIANCE.copy(), np.ones(CANDIDATES, bool), [], None
    share = np.exp(LOG_SHARE)
    for _ in range(count):
        mean, variance = (
            MEANS @ FEATURES.T,
            np.einsum("na,cab,nb->cn", FEATURES, covariance, FEATURES),
        )
        probability, information, curvature = numbers(LOG_SHARE, mean, variance)
        centre = share @ MEANS
        total = np.einsum("c,cab->ab", share, covariance)
        total += np.einsum("c,ca,cb->ab", share, MEANS - centre, MEANS - centre)
        v, bend = np.einsum("na,ab,nb->n", FEATURES, total, FEATURES), share @ curvature
        if criterion == "v_optimal":
            drop = (TARGET_PAIRS @ total @ FEATURES.T) ** 2 * bend / (1 + bend * v)
            gain = drop.mean(axis=0)
        else:
            gain = {"information": information, "variance": v}[criterion]
        best = int(np.argmax(np.where(available, gain, -np.inf)))
        picked.append((best, gain[best], probability[best]))
        available[best] = False
        for c in range(COMPONENTS):
            spread = covariance[c] @ FEATURES[best]
            inner = 1 / curvature[c, best] + FEATURES[best] @ spread
            covariance[c] = covariance[c] - np.outer(spread, spread) / inner
    return picked


def choose(criterion, count, *, features=FEATURES, available=None, targets=None):
    known = Components(*(jnp.asarray(a, jnp.float32) for a in (LOG_SHARE, MEANS, COVARIANCE)))
    mask = np.ones(len(features), bool) if available is None else available
    moment = TARGET_PAIRS.T @ TARGET_PAIRS / len(TARGET_PAIRS)
    goal = targets or Targets(jnp.asarray(moment, jnp.float32), jnp.asarray(REPLIES, jnp.float32))
    return RUN(
        LOGISTIC,
        known,
        pair_features(jnp.asarray(features, jnp.float32)),
        jnp.asarray(mask),
        goal,
        jax.random.key(0),
        criterion=criterion,
        count=count,
    )


RUN = jax.jit(next_questions, static_argnames=("criterion", "count"))


@pytest.mark.parametrize("criterion", ["information", "variance", "v_optimal"])
def test_several_questions_against_brute_force(criterion):
    found, expected = choose(criterion, 4), greedy(criterion, 4)
    assert found.index.tolist() == [index for index, _, _ in expected]
    np.testing.assert_allclose(found.gain, [gain for _, gain, _ in expected], rtol=2e-3)
    np.testing.assert_allclose(found.probability, [p for _, _, p in expected], atol=1e-3)


def test_the_gain_of_a_pick_against_draws():
    share, rng = np.exp(LOG_SHARE), np.random.default_rng(2)
    component = rng.choice(COMPONENTS, 400_000, p=share)
    noise = rng.normal(size=(len(component), RANK))
    w = MEANS[component] + np.einsum("nab,nb->na", ROOT[component], noise)
    found = choose("best_reply", 1)
    index = int(found.index[0])
    margin = w @ FEATURES[index]
    first = rng.random(len(w)) < expit(margin)
    rewards = w @ REPLIES.T
    after = sum(rewards[side].mean(axis=0).max() * side.mean() for side in (first, ~first))
    # The means after an answer are those of one Gaussian with the mixture's moments.
    assert found.gain[0] == pytest.approx(after - rewards.mean(axis=0).max(), abs=0.06)


def test_the_shortlist_loses_next_to_nothing():
    rng, lost = np.random.default_rng(3), []
    features = rng.normal(size=(400, RANK))
    for scale in (0.1, 0.5, 1.0, 2.0, 5.0):
        found = choose("information", 1, features=features * scale)
        mean = MEANS @ features.T * scale
        variance = np.einsum("na,cab,nb->cn", features, COVARIANCE, features) * scale**2
        best = numbers(LOG_SHARE, mean, variance)[1].max()
        lost.append(1 - found.gain[0] / best)
    assert max(lost) < 0.01


def test_near_duplicates_are_one_question_and_nothing_is_asked_twice():
    twice = np.concatenate([FEATURES, -FEATURES, FEATURES * (1 + 1e-3)])
    found = choose("information", 14, features=twice)
    index = np.asarray(found.index)
    assert sorted(index[:12] % CANDIDATES) == list(range(CANDIDATES))
    assert (index[12:] == -1).all()
    assert np.isnan(found.probability[12:]).all()
    assert (np.asarray(found.gain)[12:] == 0).all()


def test_what_is_not_available_is_not_asked():
    available = np.zeros(CANDIDATES, bool)
    available[[3, 7]] = True
    for criterion in ("information", "random", "best_reply"):
        index = choose(criterion, 3, available=available).index
        assert sorted(index.tolist()) == [-1, 3, 7]


def test_entropies_of_components_count():
    # Each component is sure, and they disagree: the answer tells which it is.
    mean, variance = jnp.array([[9.0], [-9.0]]), jnp.full((2, 1), 1e-4)
    answer = ANSWERS(LOGISTIC, jnp.log(jnp.array([0.5, 0.5])), mean, variance)
    assert answer.information[0] == pytest.approx(np.log(2), abs=1e-2)
