import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.methods.gaussian import basis_laplace
from lore_jax.methods.gaussian.basis_laplace import Precisions, basis_posterior, shares
from lore_jax.parallel.buckets import FoldRows
from lore_jax.parallel.devices import first_shard, over_shards, place
from lore_jax.solvers import range_finder

RIDGES = np.array([0.7, 2.0], np.float32)
PRECISIONS = np.array([0.2, 0.3], np.float32)  # of every pair, for both kinds of columns


def problem(dim=6, responses=20, pairs=150, users=12):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(responses, dim)).astype(np.float32)
    chosen = rng.integers(responses, size=pairs)
    rejected = (chosen + rng.integers(1, responses, size=pairs)) % responses
    return from_arrays(table, chosen, rejected, rng.integers(users, size=pairs))


def found(prefs, sizes, devices=1, rows=None):
    """The posterior's covariances `[2, dim, dim]` and the shares."""

    def solve(_, data, shared):
        ridges, sizes = shared
        said = Precisions(
            tuple(PRECISIONS[0] * bucket.pair_weight for bucket in data.buckets),
            tuple(jnp.full(ids.shape, PRECISIONS[1] / PRECISIONS[0]) for ids in data.users.buckets),
        )
        share = shares(data, said, ridges, sizes[:, None])
        return basis_posterior(data, said, ridges, share), share

    data, _ = place(prefs, 1.5, jax.devices()[:devices])
    data = dataclasses.replace(data, rows=rows)
    program = over_shards(solve, donate=False, devices=jax.devices()[:devices])
    solved = program((), data, (RIDGES, np.float32(sizes)))
    posterior, share = jax.tree.map(first_shard, solved)
    inside = posterior.axes @ (posterior.factor @ posterior.factor.transpose(0, 2, 1))
    outside = np.eye(prefs.dim) - posterior.axes @ posterior.axes.T
    rest = posterior.rest[:, None, None] * outside
    return inside @ posterior.axes.T + rest, share


def exact(prefs, kind, size):
    """Of (v, b) together, the covariance of v, in float64."""
    n, dim = prefs.num_responses, prefs.dim
    signs = np.zeros((prefs.num_pairs, n))
    signs[np.arange(prefs.num_pairs), prefs.chosen] += 1.0
    signs[np.arange(prefs.num_pairs), prefs.rejected] -= 1.0
    design = np.concatenate([signs @ prefs.embeddings / 1.5, size * signs], axis=1)
    hessian = PRECISIONS[kind] * design.T @ design + 2.0 * RIDGES[kind] * np.eye(dim + n)
    return np.linalg.inv(hessian)[:dim, :dim]


# By the graph of comparisons; pair by pair, all columns at once or four of six.
@pytest.mark.parametrize(("most_rows", "numbers"), [(4096, 2**22), (1, 2**22), (1, 4 * 20)])
def test_without_item_effects_it_is_the_inverse_of_the_hessian(most_rows, numbers, monkeypatch):
    for name, value in (("ROWS", most_rows), ("NUMBERS", numbers)):
        monkeypatch.setattr(basis_laplace, f"_MOST_{name}", value)
    monkeypatch.setattr(basis_laplace, "_PAIRS_AT_A_TIME", 16)
    prefs = problem()
    covariance, share = found(prefs, (0.0, 0.0))
    for kind in range(2):
        np.testing.assert_allclose(covariance[kind], exact(prefs, kind, 0.0), rtol=1e-3)
    np.testing.assert_array_equal(share, 1.0)


def test_item_effects_are_integrated_out():
    prefs = problem(responses=60, pairs=300)
    covariance, share = found(prefs, (0.5, 2.0))
    degree = np.bincount(np.append(prefs.chosen, prefs.rejected), minlength=60)
    for kind, size in enumerate((0.5, 2.0)):
        # Exact up to responses that are compared again and again.
        true = exact(prefs, kind, size)
        np.testing.assert_allclose(np.diag(covariance[kind]), np.diag(true), rtol=0.1)
        rho = 2.0 * RIDGES[kind] / size**2
        np.testing.assert_allclose(share[kind], rho / (rho + PRECISIONS[kind] * degree), rtol=1e-4)


def test_eight_devices_are_one():
    prefs = problem()
    one, eight = (found(prefs, (0.5, 1.0), devices=count) for count in (1, 8))
    for left, right in zip(one, eight, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


def test_rows_that_nobody_judged_may_be_left_out():
    prefs = problem()
    unseen = np.flatnonzero(np.isin([prefs.chosen, prefs.rejected], [3, 8]).any(axis=0))
    prefs = prefs.take_pairs(np.setdiff1d(np.arange(prefs.num_pairs), unseen))
    judged = np.setdiff1d(np.arange(prefs.num_responses), [3, 8])
    rows = FoldRows(np.resize(judged, len(judged) + 5), judged[:1])
    for with_all, with_some in zip(
        found(prefs, (0.5, 1.0)), found(prefs, (0.5, 1.0), rows=rows), strict=True
    ):
        np.testing.assert_allclose(with_some, with_all, rtol=1e-3, atol=1e-6)


def test_a_wide_table_keeps_its_strongest_axes(monkeypatch):
    monkeypatch.setattr(range_finder, "_SAMPLED_ROWS", 30)
    for name, value in (("_MOST_AXES", 4), ("_KEPT_AXES", 3)):
        monkeypatch.setattr(basis_laplace, name, value)
    rng = np.random.default_rng(0)
    prefs = problem(dim=8, responses=40)
    strong = rng.normal(size=(40, 3)) @ np.linalg.qr(rng.normal(size=(8, 3)))[0].T
    noise = 1e-3 * rng.normal(size=(40, 8))
    prefs = from_arrays(
        np.float32(strong + noise), prefs.chosen, prefs.rejected, prefs.user, num_users=12
    )
    covariance, _ = found(prefs, (0.0, 0.0))
    np.testing.assert_allclose(covariance[0], exact(prefs, 0, 0.0), rtol=0.02, atol=2e-3)
    assert jnp.isfinite(covariance).all()
