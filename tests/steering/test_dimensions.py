import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import lore_jax as lore
from lore_jax.steering.dimensions import POLES, Dimension, declare, declared_basis

RNG = np.random.default_rng(0)
TRUE = np.linalg.qr(RNG.normal(size=(8, 2)))[0].T  # concise, friendly
PAIRS = 40
BASE = RNG.normal(size=(2 * PAIRS, 8))
TABLE = np.concatenate(
    [BASE + np.repeat(TRUE, PAIRS, axis=0), BASE - np.repeat(TRUE, PAIRS, axis=0)]
).astype(np.float32)
ROWS = np.arange(PAIRS)
DIMENSIONS = [
    Dimension("concise", ROWS, ROWS + 2 * PAIRS),
    Dimension("friendly", ROWS + PAIRS, ROWS + 3 * PAIRS),
]
NAMES = ["concise", "friendly"]


def test_columns_are_ridge_bradley_terry_on_the_poles():
    model = declared_basis(TABLE, DIMENSIONS, ridge=0.5)
    scale = float(model.input_scale)
    columns = np.asarray(model.params["V"])
    for column, (_, first, second) in zip(columns.T, DIMENSIONS, strict=True):
        apart = (TABLE[first] - TABLE[second]).astype(np.float64) / scale
        both, labels = np.concatenate([apart, -apart]), np.repeat([1, 0], PAIRS)
        oracle = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=1000)
        expected = oracle.fit(both, labels).coef_[0]  # every pair twice, the ridge twice
        cosine = column @ expected / np.linalg.norm(column) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1.0, abs=1e-5)
    rewards = TABLE / scale @ columns
    np.testing.assert_allclose(rewards.std(axis=0), 1.0, rtol=1e-5)
    assert (np.abs(np.sum(columns * TRUE.T, axis=0)) > 0.9 * np.linalg.norm(columns, axis=0)).all()


def test_what_is_declared_is_corrected_by_answers():
    model = declare(declared_basis(TABLE, DIMENSIONS), NAMES, {"concise": "strongly"})
    np.testing.assert_allclose(model.prior.mean, [2.0, 0.0])
    # Somebody who says concise, and chooses what is not: sixteen times.
    prefs = lore.from_arrays(TABLE, ROWS[:16] + 2 * PAIRS, ROWS[:16], np.zeros(16, int))
    posterior = lore.adapt(model, prefs)
    assert posterior.weights[0, 0] < 0.0
    silent = lore.adapt(model, lore.from_arrays(TABLE, [], [], [], num_users=1))
    np.testing.assert_allclose(silent.weights[0], [2.0, 0.0])


def test_the_spellings_of_what_is_declared():
    model = declared_basis(TABLE, DIMENSIONS)
    said = declare(model, NAMES, {"concise": "not clearly", "friendly": 0.3})
    np.testing.assert_allclose(said.prior.mean, [-1.0, 0.3])
    np.testing.assert_allclose(said.prior.covariance, jnp.eye(2))
    assert [pole.name for pole in POLES] == ["elementary", "concise", "friendly"]


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ([], "there are 0 dimensions"),
        ([DIMENSIONS[0], DIMENSIONS[0]], "dimension 'concise' is there twice"),
        ([Dimension("x", ROWS, ROWS[:0])], "'x' is one-sided, with 40 responses .* 0 at the other"),
        ([Dimension("x", ROWS[:2], np.array([2, 999]))], "holds row 999, outside a table of 160"),
        ([Dimension("x", np.array([1, 2]), np.array([3, 1]))], "row 1 stands at both poles"),
    ],
)
def test_bad_dimensions_are_refused(dimensions, message):
    with pytest.raises(ValueError, match=message):
        declared_basis(TABLE, dimensions)


def test_poles_that_are_alike_or_not_finite_are_refused():
    table = TABLE.copy()
    table[ROWS + 2 * PAIRS] = table[ROWS]
    with pytest.raises(ValueError, match="'concise': its poles have the same embeddings"):
        declared_basis(table, DIMENSIONS[:1])
    table[3, 3] = np.nan
    with pytest.raises(ValueError, match="'concise': row 3 of the embeddings is not finite"):
        declared_basis(table, DIMENSIONS[:1])
    with pytest.raises(ValueError, match="ridge is 0"):
        declared_basis(TABLE, DIMENSIONS, ridge=0.0)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"funny": "strongly"}, "'funny' is no dimension: 'concise', 'friendly' are there"),
        ({"concise": "very"}, "'concise' is 'very': one of 'strongly'"),
        ({"concise": np.nan}, "'concise' is nan: a word or a finite number"),
    ],
)
def test_bad_declarations_are_refused(said, message):
    model = declared_basis(TABLE, DIMENSIONS)
    with pytest.raises(ValueError, match=message):
        declare(model, NAMES, said)
    with pytest.raises(ValueError, match="1 names are given for 2 columns"):
        declare(model, ["concise"], {})
