"""The strongest directions of a table, against its singular vectors."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.solvers import range_finder
from lore_jax.solvers.range_finder import strongest_axes


def low_rank(rows=60, dim=12, rank=3):
    rng = np.random.default_rng(0)
    strong = rng.normal(size=(rows, rank)) @ np.linalg.qr(rng.normal(size=(dim, rank)))[0].T
    return np.float32(strong + 1e-3 * rng.normal(size=(rows, dim)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("sampled", [1000, 20])
def test_they_span_the_leading_singular_vectors(dtype, sampled, monkeypatch):
    monkeypatch.setattr(range_finder, "_SAMPLED_ROWS", sampled)
    table = low_rank()
    axes = strongest_axes(jnp.asarray(table, dtype), 3)
    assert axes.shape == (12, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    leading = np.linalg.svd(table)[2][:3]
    cosines = np.linalg.svd(leading @ axes)[1]
    np.testing.assert_allclose(cosines, 1.0, atol=1e-3)


def test_there_are_no_more_than_the_table_has():
    assert strongest_axes(jnp.asarray(low_rank(rows=5)), 50).shape == (12, 5)
    assert strongest_axes(jnp.asarray(low_rank(dim=4)), 50).shape == (4, 4)
