"""Items that nobody judged are a coin, and responses are known wherever they stand."""

import dataclasses

import numpy as np
from few_items import few_items, nearest_users

from lore_jax.methods.rivals import nearest_users_predictor


def test_items_of_no_pair_are_a_coin_and_a_row_may_move():
    fit = few_items()
    predictor, order = nearest_users(fit), np.array([3, 1, 0, 5, 4, 2], np.int32)
    moved = dataclasses.replace(
        fit,
        embeddings=fit.embeddings[np.argsort(order)],
        chosen=order[fit.chosen],
        rejected=order[fit.rejected],
    )
    expected = predictor.fitted(fit, fit)
    np.testing.assert_allclose(predictor.fitted(moved, moved).mean, expected.mean, atol=1e-6)
    unknown = dataclasses.replace(fit, embeddings=fit.embeddings + 1.0)
    np.testing.assert_array_equal(predictor.adapted(fit, unknown).mean, 0.0)


def test_populations_of_like_size_share_a_program():
    programs, found = nearest_users_predictor._margins._cache_size, []
    for users in (21, 22, 24):
        prefs = few_items(users=users)
        assert np.ptp(nearest_users(prefs).adapted(prefs, prefs).mean) > 0.5
        found.append(programs())
    assert found == found[:1] * 3
