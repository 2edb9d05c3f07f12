"""The questionnaire: the greedy list for the population, and accuracies against a simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.solvers.likelihood import LOGISTIC
from lore_jax.solvers.mixture import Mixture
from lore_jax.users.questionnaire import choices, draw_users, prior_components, questionnaire

RANK, RESPONSES = 3, 14
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, RANK)).astype(np.float32)
PAIRS = np.stack(np.triu_indices(RESPONSES, 1), axis=1)[:40]
CENTRE = jnp.array([[1.2, 0.0, 0.0], [-1.2, 0.3, 0.0]])
MIXTURE = Mixture(jnp.log(jnp.array([0.25, 0.75])), CENTRE, jnp.tile(0.3 * jnp.eye(3), (2, 1, 1)))
KEY = jax.random.key(0)


def model_of(prior):
    return Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), prior)


GAUSSIAN = model_of(GaussianPrior(jnp.array([1.0, 0.0, 0.0]), 2.0 * jnp.eye(RANK)[:, 1:]))
MIXED = model_of(MixturePrior(jnp.ones(RANK), jnp.eye(RANK), MIXTURE))


def test_the_list_is_greedy_for_the_population_and_its_accuracy_rises():
    found = questionnaire(GAUSSIAN, TABLE, PAIRS, 4, key=KEY, num_users=2000)
    features = TABLE[PAIRS[:, 0]] - TABLE[PAIRS[:, 1]]
    covariance, draws = np.diag([0.0, 4.0, 4.0]), np.random.default_rng(1)
    w = np.array([1.0, 0, 0]) + draws.normal(size=(20_000, RANK)) * [0.0, 2.0, 2.0]
    available = np.ones(len(PAIRS), bool)
    for asked in found.pairs:
        # The curvature that is expected of an answer, under what is known by then.
        spread = np.linalg.cholesky(covariance + 1e-9 * np.eye(3))
        now = np.array([1.0, 0, 0]) + draws.normal(size=(20_000, RANK)) @ spread.T
        p = expit(now @ features.T)
        bend = (p * (1 - p)).mean(axis=0)
        v = np.einsum("na,ab,nb->n", features, covariance, features)
        gain = ((features @ covariance @ features.T) ** 2).mean(axis=0) * bend / (1 + bend * v)
        index = int(np.flatnonzero((asked == PAIRS).all(axis=1))[0])
        assert gain[index] > 0.98 * gain[available].max()
        available[index] = False
        along = covariance @ features[index]
        covariance = covariance - np.outer(along, along) * bend[index] / (
            1 + bend[index] * v[index]
        )
    assert (np.diff(found.accuracy) > -0.005).all()
    margin = w @ features.T
    nobody = np.where(features[:, 0] > 0, expit(margin), expit(-margin)).mean()
    assert found.accuracy[0] == pytest.approx(nobody, abs=0.02)
    assert found.accuracy[-1] > nobody + 0.02
    assert found.ceiling == pytest.approx(expit(np.abs(margin)).mean(), abs=0.02)
    assert found.ceiling > found.accuracy[-1]


def test_it_is_as_long_as_there_are_questions():
    found = questionnaire(GAUSSIAN, TABLE, np.array([[0, 1], [1, 0]]), 2, key=KEY, num_users=5)
    assert found.pairs.shape == (1, 2)
    assert found.accuracy.shape == (2,)


def test_users_are_drawn_from_components():
    drawn = draw_users(MIXED, 4000, KEY)
    known = prior_components(MIXED)
    near = np.linalg.norm(drawn[:, None] - np.asarray(known.weights[0])[None], axis=2).argmin(
        axis=1
    )
    assert np.mean(near == 0) == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(drawn[near == 1].mean(axis=0), 1 + np.asarray(CENTRE[1]), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn[near == 1].T), 0.09 * np.eye(3), atol=0.02)


def test_choices_follow_the_likelihood():
    first = choices(LOGISTIC, np.full(20_000, 1.0, np.float32), KEY)
    assert first.mean() == pytest.approx(expit(1.0), abs=0.01)


@pytest.mark.parametrize(
    ("length", "users", "message"),
    [(0, 5, "count is 0"), (41, 5, "count is 41: 1 to 40"), (2, 0, "num_users is 0: 1 or more")],
)
def test_bad_lengths_are_refused(length, users, message):
    with pytest.raises(ValueError, match=message):
        questionnaire(GAUSSIAN, TABLE, PAIRS, length, key=KEY, num_users=users)
