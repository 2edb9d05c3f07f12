"""Users of a cache, some at a time, are known as all of them together."""

import dataclasses

import numpy as np
import pytest
from small_answers import small_answers, write_answers_cache

import lore_jax as lore
from lore_jax.data.long_rows import set_aside_long_rows_of_answers
from lore_jax.export.adapt_cache_of_answers import adapt_cache_of_answers, with_users
from lore_jax.model.basis import LinearBasis
from lore_jax.model.posterior import join
from lore_jax.model.prior import GaussianPrior

FEEDBACK = small_answers()
HOW = lore.begin_answers(FEEDBACK)


@pytest.fixture(scope="module")
def model():
    """A linear basis and a Gaussian prior of the table's width."""
    rng = np.random.default_rng(0)
    prior = GaussianPrior(np.array([1.0, 0.0], np.float32), np.array([[0.0], [1.0]], np.float32))
    params = {"V": rng.normal(size=(8, 2)).astype(np.float32)}
    return lore.Model(LinearBasis(2), params, np.float32(2.0), prior)


def test_parts_are_the_whole(model, tmp_path):
    cache = write_answers_cache(tmp_path / "cache")
    whole = lore.adapt_answers(model, HOW, FEEDBACK)
    parts = list(adapt_cache_of_answers(model, HOW, cache, users_at_a_time=10))
    assert [part.users.num_users for part in parts] == [10, 10, 4]
    found = with_users(parts, join([part.users for part in parts]))
    np.testing.assert_allclose(found.users.weights, whole.users.weights, atol=1e-4)
    np.testing.assert_allclose(found.intercept, whole.intercept, atol=1e-4)
    assert found.users.user_ids.tolist()[:2] == ["user 0", "user 1"]


def test_bad_input_is_one_line(model, tmp_path):
    cache = write_answers_cache(tmp_path / "cache")
    with pytest.raises(ValueError, match="users_at_a_time is 0"):
        next(adapt_cache_of_answers(model, HOW, cache, users_at_a_time=0))
    other = lore.begin_answers(FEEDBACK.take_kinds("tie"))
    with pytest.raises(ValueError, match="has no scale 'rating 5'"):
        next(adapt_cache_of_answers(model, other, cache))


def test_a_row_of_extreme_norm_counts_nothing(model, tmp_path, monkeypatch):
    table = FEEDBACK.embeddings.copy()
    table[7] *= 1e6
    long = dataclasses.replace(FEEDBACK, embeddings=table)
    monkeypatch.setattr("small_answers.small_answers", lambda: long)
    cache = write_answers_cache(tmp_path / "cache")
    with pytest.warns(RuntimeWarning, match="embeddings row 7 has norm"):
        (known,) = adapt_cache_of_answers(model, HOW, cache)
    with pytest.warns(RuntimeWarning, match="answers with them count nothing"):
        expected = lore.adapt_answers(model, HOW, set_aside_long_rows_of_answers(long))
    np.testing.assert_allclose(known.users.weights, expected.users.weights, atol=1e-4)
    with pytest.warns(RuntimeWarning, match="pairs with them count nothing"):
        (posterior,) = lore.adapt_cache(model, cache)
    assert posterior.converged.all()
    assert np.abs(posterior.weights).max() < 100
