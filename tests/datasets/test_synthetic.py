import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.model.model import rewards
from lore_jax.model.prior import SimplexPrior

CONFIG = SyntheticConfig(num_users=300, num_prompts=300, pairs_per_user=(20, 60), dim=32, rank=4)


def true_margins(data):
    """From the true basis and weights alone."""
    table = np.asarray(data.prefs.embeddings, np.float64) @ data.basis.astype(np.float64)
    features = table[data.prefs.chosen] - table[data.prefs.rejected]
    return np.sum(features * data.weights[data.prefs.user], axis=1)


@pytest.mark.parametrize("users", ["simplex", "gaussian", "mixture"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_truth_is_true(users, dtype):
    data = synthetic(dataclasses.replace(CONFIG, users=users, dtype=dtype), seed=1)
    assert str(data.prefs.embeddings.dtype) == dtype
    margin = true_margins(data)
    np.testing.assert_allclose(data.probability, 1.0 / (1.0 + np.exp(-margin)), atol=1e-5)
    # The root mean square margin is 1 / noise, over users and pairs.
    assert np.sqrt(np.mean(margin**2)) == pytest.approx(4.0, rel=0.1)
    np.testing.assert_allclose(
        rewards(data.model, jnp.asarray(data.prefs.embeddings)).table,
        np.asarray(data.prefs.embeddings, np.float32) @ data.basis,
        atol=2e-3 if dtype != "float32" else 1e-4,  # the type the model multiplies in
    )


def test_labels_are_drawn_from_the_probabilities():
    data = synthetic(dataclasses.replace(CONFIG, noise=1.0, num_users=2000), seed=2)
    margin = true_margins(data)
    confident = np.maximum(data.probability, 1.0 - data.probability)
    right = margin > 0
    for low, high in [(0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)]:
        here = (confident >= low) & (confident < high)
        assert right[here].mean() == pytest.approx(
            confident[here].mean(), abs=4 * 0.5 / np.sqrt(here.sum())
        )


def test_without_noise_the_higher_reward_wins():
    data = synthetic(dataclasses.replace(CONFIG, noise=0.0), seed=3)
    assert (true_margins(data) > 0).all()
    assert (data.probability == 1).all()


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_spectrum(exponent):
    config = SyntheticConfig(
        num_users=1,
        num_prompts=5000,
        responses_per_prompt=4,
        dim=16,
        rank=2,
        exponent=exponent,
        row_norm=30.0,
    )
    table = synthetic(config, seed=4).prefs.embeddings
    values = np.linalg.eigvalsh(np.cov(table, rowvar=False))[::-1]
    expected = np.arange(1.0, 17.0) ** -exponent
    np.testing.assert_allclose(values, 900.0 * expected / expected.sum(), rtol=0.08)
    assert np.sqrt(np.mean(np.sum(table**2, axis=1))) == pytest.approx(30.0, rel=0.02)
    # Rotated: no column of the table stands out.
    assert np.ptp(np.var(table, axis=0)) < 0.8 * np.ptp(values) + 10.0


def test_columns_of_the_basis_are_uncorrelated_over_differences():
    data = synthetic(dataclasses.replace(CONFIG, num_prompts=4000, exponent=2.0), seed=5)
    table = data.prefs.embeddings @ data.basis
    covariance = np.cov(table[::2] - table[1::2], rowvar=False)
    np.testing.assert_allclose(covariance / np.mean(np.diag(covariance)), np.eye(4), atol=0.06)


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.7, 1.0])
def test_the_head(correlation):
    config = dataclasses.replace(
        CONFIG, head_correlation=correlation, num_prompts=2000, exponent=2.0
    )
    data = synthetic(config, seed=6)
    head = data.prefs.embeddings @ data.prefs.head
    population = data.prefs.embeddings @ data.basis @ np.asarray(data.model.prior.mean)
    assert np.corrcoef(head, population)[0, 1] == pytest.approx(correlation, abs=0.05)
    assert np.std(head) == pytest.approx(np.std(population), rel=0.1)


def test_simplex_users():
    data = synthetic(
        dataclasses.replace(CONFIG, users="simplex", num_users=4000, alpha=0.3), seed=7
    )
    assert isinstance(data.model.prior, SimplexPrior)
    assert (data.weights >= 0).all()
    np.testing.assert_allclose(data.weights.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(data.weights.mean(0), data.model.prior.mean, atol=0.03)
    assert np.mean(np.sum(data.weights**2, axis=1)) == pytest.approx(
        1.3 / 2.2, abs=0.02
    )  # of Dirichlet(0.3) on 4


@pytest.mark.parametrize(
    ("users", "spread"), [("gaussian", 0.5), ("mixture", 0.5), ("mixture", 0.0)]
)
def test_gaussian_users_come_from_the_population_of_the_model(users, spread):
    data = synthetic(
        dataclasses.replace(CONFIG, users=users, spread=spread, num_users=20_000), seed=8
    )
    np.testing.assert_allclose(data.weights.mean(0), data.model.prior.mean, atol=0.05)
    np.testing.assert_allclose(
        np.cov(data.weights, rowvar=False), data.model.prior.covariance, atol=0.06
    )
    assert np.linalg.matrix_rank(data.model.prior.factor) == data.model.prior.factor.shape[1]


def test_without_spread_users_do_not_differ():
    data = synthetic(dataclasses.replace(CONFIG, spread=0.0), seed=9)
    np.testing.assert_array_equal(data.weights, np.tile(data.weights[:1], (300, 1)))
    assert data.model.prior.factor.shape == (4, 0)


def test_components():
    data = synthetic(
        dataclasses.replace(CONFIG, users="mixture", spread=0.0, num_components=3), seed=10
    )
    assert np.bincount(data.component).tolist() == [100, 100, 100]
    for component in range(3):
        assert len(np.unique(data.weights[data.component == component], axis=0)) == 1
    assert len(np.unique(data.weights, axis=0)) == 3


def test_pairs_of_a_user():
    data = synthetic(dataclasses.replace(CONFIG, pairs_per_user=(0, 3), num_users=2000), seed=11)
    count = data.prefs.pairs_per_user()
    assert data.prefs.num_users == 2000
    np.testing.assert_allclose(np.bincount(count) / 2000, [0.25] * 4, atol=0.04)
    assert (data.prefs.chosen // 8 == data.prefs.prompt).all()
    assert (data.prefs.rejected // 8 == data.prefs.prompt).all()


def test_one_prompt_for_everybody():
    data = synthetic(dataclasses.replace(CONFIG, num_prompts=1, responses_per_prompt=50), seed=12)
    assert data.prefs.num_responses == 50
    assert set(data.prefs.prompt) == {0}


def test_the_seed_decides_and_more_users_keep_the_responses():
    first, again, other = (synthetic(CONFIG, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.prefs.chosen, again.prefs.chosen)
    assert (first.prefs.embeddings != other.prefs.embeddings).any()
    larger = synthetic(dataclasses.replace(CONFIG, num_users=600), seed=0)
    np.testing.assert_array_equal(first.prefs.embeddings, larger.prefs.embeddings)
    np.testing.assert_array_equal(first.basis, larger.basis)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_users": 0}, "num_users is 0: 1 or more"),
        ({"responses_per_prompt": 1}, "responses_per_prompt is 1: 2 or more"),
        ({"rank": 33}, "rank 33 is above dim 32"),
        ({"rank": 0}, "rank is 0: 1 or more"),
        ({"pairs_per_user": (5, 4)}, r"pairs_per_user is \(5, 4\)"),
        ({"pairs_per_user": (-1, 4)}, r"pairs_per_user is \(-1, 4\)"),
        ({"users": "normal"}, "users is 'normal': 'simplex' or 'gaussian' or 'mixture'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"noise": -1.0}, "noise is -1"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"head_correlation": 1.5}, "head_correlation is 1.5"),
    ],
)
def test_bad_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        synthetic(dataclasses.replace(CONFIG, **change), seed=0)
