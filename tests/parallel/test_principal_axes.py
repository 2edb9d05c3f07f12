"""Principal axes against a singular value decomposition."""

import numpy as np
import pytest

from lore_jax.parallel.principal_axes import principal_axes


@pytest.mark.parametrize(("responses", "dim"), [(50, 8), (5, 8)])
def test_they_are_the_right_singular_vectors(responses, dim):
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(responses, dim)) * np.arange(1, dim + 1)).astype(np.float32)
    found = principal_axes(table)
    _, values, vectors = np.linalg.svd(table.astype(np.float64))
    squared = np.zeros(dim)
    squared[: len(values)] = values**2 / responses
    np.testing.assert_allclose(found.squared[::-1], squared, rtol=1e-4, atol=1e-5 * squared[0])
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(dim), atol=1e-5)
    some = min(responses, dim)
    along = np.abs(np.sum(found.axes[:, ::-1][:, :some] * vectors[:some].T, axis=0))
    np.testing.assert_allclose(along, 1.0, atol=1e-3)


def test_of_a_table_of_zeros_they_are_of_length_0():
    assert not principal_axes(np.zeros((3, 4), np.float32)).squared.any()
