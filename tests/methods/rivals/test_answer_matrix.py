"""Products with the answers, and shared pairs, against the dense matrix."""

import jax.numpy as jnp
import numpy as np
from shared_pairs import shared_pairs

from lore_jax.methods.rivals.answer_matrix import answer_matrix, num_shared_pairs
from lore_jax.parallel.devices import over_shards, place


def test_products_are_those_of_the_dense_matrix():
    prefs, rng = shared_pairs(), np.random.default_rng(0)
    low, high = np.minimum(prefs.chosen, prefs.rejected), np.maximum(prefs.chosen, prefs.rejected)
    pairs, column = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    dense = np.zeros((prefs.num_users, pairs.shape[1]))
    dense[prefs.user, column.ravel()] = np.where(prefs.chosen == low, 1.0, -1.0)
    assert num_shared_pairs(prefs) == (np.abs(dense).sum(axis=0) > 1).sum()
    data, layout = place(prefs, 1.0)
    left = rng.normal(size=(prefs.num_users, 2)).astype(np.float32)

    def products(_, data, left):
        matrix = answer_matrix(data)
        of_pairs = matrix.to_pairs([jnp.asarray(own) for own in left])
        return of_pairs, matrix.to_users(of_pairs)

    spread = [np.asarray(part)[0] for part in layout.spread(left).buckets]
    of_pairs, of_users = over_shards(products, donate=False)(jnp.zeros(1), data, spread)
    found = of_pairs[0][pairs[0] * prefs.num_responses + pairs[1]]
    np.testing.assert_allclose(found, dense.T @ left, atol=1e-4)
    for ids, part in zip(layout.ids, of_users, strict=True):
        real = ids[0] >= 0
        expected = (dense @ dense.T @ left)[ids[0][real]]
        np.testing.assert_allclose(part[0].T[real], expected, atol=1e-3)
