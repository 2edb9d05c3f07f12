import ctypes
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.solvers.interior_point import simplex_estimate
from lore_jax.solvers.native import library
from lore_jax.solvers.newton import map_estimate

RESPONSES = 50
needs_library = pytest.mark.skipif(library.load() is None, reason="built without a C++ compiler")
by_newton, by_interior_point = jax.jit(map_estimate), jax.jit(simplex_estimate)


def answers_of(columns, counts, *, size=1.0, seed=0, weights=True):
    """Answers to random pairs of a random table, and the users who gave them."""
    rng = np.random.default_rng(seed)
    counts = np.asarray(counts, np.int32)
    pairs = int(counts.sum())
    rows = rng.integers(RESPONSES, size=(2, pairs)).astype(np.int32)
    weight = np.broadcast_to(np.float32(1.0), pairs)  # as preferences without weights have them
    if weights:
        weight = rng.uniform(0.0, 2.0, pairs).round(1).astype(np.float32)
    table = (size * rng.standard_normal((RESPONSES, columns))).astype(np.float32)
    answers = library.Answers(table, *rows, weight)
    first = (np.cumsum(counts) - counts).astype(np.int32)
    return answers, library.Users(np.arange(len(counts), dtype=np.int32), first, counts)


def results_of(users, rank):
    """Room for posteriors, full of what must not be left."""
    return library.Results(
        np.full((users, rank), 7.0, np.float32),
        np.full((users, rank, rank), 7.0, np.float32),
        np.full(users, 7, np.int32),
        np.zeros(users, bool),
        np.full(users, 7, np.int32),
        np.full(users, 7.0, np.float32),
    )


def padded(answers, users):
    """Features `[columns, shots, users]` and weights `[shots, users]`."""
    ahead = np.arange(users.count.max())[:, None]
    pairs = users.first + np.minimum(ahead, np.maximum(users.count - 1, 0))
    difference = answers.table[answers.chosen[pairs]] - answers.table[answers.rejected[pairs]]
    weight = np.where(ahead < users.count, answers.pair_weight[pairs], 0.0)
    return jnp.asarray(np.moveaxis(difference, 2, 0)), jnp.asarray(weight, jnp.float32)


def factor_of(rank, k, seed=0):
    return np.random.default_rng(seed).standard_normal((rank, k)).astype(np.float32)


@needs_library
@pytest.mark.parametrize(
    ("k", "size", "weights"),
    [(1, 1.0, True), (3, 1.0, False), (4, 30.0, True), (8, 3.0, True), (9, 1.0, True)],
)
def test_gaussian_posteriors_are_those_of_newton(k, size, weights):
    counts = [5, 1, 40, 12, 12, 7, 3, 2, 9, 30, 5]  # more than stand side by side
    answers, users = answers_of(k + 1, counts, size=size, weights=weights)
    mean, factor = np.arange(k + 2, dtype=np.float32), factor_of(k + 2, k)
    out = results_of(len(counts), k + 2)
    library.adapt_gaussian(answers, users, mean, factor, out)

    features, weight = padded(answers, users)
    start = jnp.zeros((k, len(counts)))
    found = by_newton(features[:-1], features[-1], weight, start)
    deviation, precise = np.asarray(found.deviation), np.asarray(found.covariance)
    assert np.array_equal(out.converged, found.converged)
    assert out.converged.all()
    np.testing.assert_allclose(out.weights, mean + (factor @ deviation).T, atol=2e-3)
    covariance = np.einsum("ra,abu,sb->urs", factor, precise, factor)
    np.testing.assert_allclose(out.covariance, covariance, atol=2e-3)
    np.testing.assert_array_equal(out.shots, np.sum(weight > 0, axis=0))
    assert np.abs(out.steps - np.asarray(found.steps)).max() <= 1
    assert (out.grad_norm < 0.02).all()


@needs_library
@pytest.mark.parametrize(("rank", "size"), [(1, 1.0), (2, 1.0), (5, 3.0), (8, 30.0)])
def test_simplex_weights_are_those_of_the_interior_point(rank, size):
    counts = [5, 1, 40, 12, 12, 7, 3, 2, 9, 30, 5]
    answers, users = answers_of(rank, counts, size=size)
    out = results_of(len(counts), rank)
    library.adapt_simplex(answers, users, np.full(rank, 1.0 / rank, np.float32), out)

    features, weight = padded(answers, users)
    found = by_interior_point(features, weight)
    assert out.converged.all()

    def loss(weights):  # mean, in float64: where it is flat weights may differ
        margin = np.einsum("ksu,uk->su", np.asarray(features, np.float64), weights)
        share = np.asarray(weight) / np.asarray(weight).sum(axis=0)
        return (share * np.logaddexp(0.0, -margin)).sum(axis=0)

    np.testing.assert_allclose(loss(out.weights), loss(np.asarray(found.weights).T), atol=5e-6)
    np.testing.assert_allclose(out.weights.sum(axis=1), 1.0, atol=1e-5)
    assert (out.weights >= 0).all()
    np.testing.assert_array_equal(out.shots, np.sum(weight > 0, axis=0))
    assert (out.covariance == 7.0).all()


def solvers(rank):
    mean, factor = np.full(rank, 1.0 / rank, np.float32), factor_of(rank, rank - 1)
    return [
        lambda *given: library.adapt_gaussian(*given[:2], mean, factor, given[2]),
        lambda *given: library.adapt_simplex(*given[:2], mean, given[2]),
    ]


@needs_library
@pytest.mark.parametrize("solve", solvers(4))
def test_who_stands_beside_a_user_changes_nothing(solve):
    answers, users = answers_of(4, [3, 40, 12, 7, 1, 9, 4, 4, 4, 6])
    out, alone = results_of(10, 4), results_of(10, 4)
    solve(answers, users, out)
    for user in range(10):
        solve(answers, library.Users(*(rows[user : user + 1] for rows in users)), alone)
    for together, one in zip(out, alone, strict=True):
        np.testing.assert_array_equal(together, one)


@needs_library
@pytest.mark.parametrize("solve", solvers(4))
def test_a_nan_stays_visible_and_with_its_user(solve):
    answers, users = answers_of(4, [3, 5, 5, 2])
    whole, broken = results_of(4, 4), results_of(4, 4)
    solve(answers, users, whole)
    table = np.append(answers.table, np.full((1, 4), np.nan, np.float32), axis=0)
    chosen = answers.chosen.copy()
    chosen[users.first[1]] = RESPONSES
    solve(answers._replace(table=table, chosen=chosen), users, broken)
    assert np.isnan(broken.weights[1]).any()
    assert not broken.converged[1]
    others = [0, 2, 3]
    np.testing.assert_array_equal(broken.weights[others], whole.weights[others])


@needs_library
def test_pairs_that_count_nothing_say_nothing():
    answers, users = answers_of(3, [4, 4])
    answers = answers._replace(pair_weight=np.zeros(8, np.float32))
    mean, factor = np.array([0.5, 0.25, 0.25], np.float32), factor_of(3, 2)
    out = results_of(2, 3)
    library.adapt_simplex(answers, users, mean, out)
    np.testing.assert_array_equal(out.weights, [mean, mean])
    library.adapt_gaussian(answers, users, mean, factor, out)
    np.testing.assert_array_equal(out.weights, [mean, mean])
    np.testing.assert_allclose(out.covariance[0], factor @ factor.T, rtol=1e-5)
    np.testing.assert_array_equal(out.shots, 0)


def test_only_a_library_of_these_sources_is_used(tmp_path, monkeypatch):
    for path in library.FOLDER.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "solvers.library")
    load = library.load.__wrapped__
    assert isinstance(load(), ctypes.CDLL) == (library.load() is not None)
    (tmp_path / "lanes.h").write_text("// something else\n")
    assert load() is None
    (tmp_path / "solvers.library").unlink(missing_ok=True)
    assert load() is None
    (tmp_path / "solvers.library").write_bytes(b"not a library")
    assert load() is None


def test_without_a_library_nothing_is_solved(monkeypatch):
    monkeypatch.setattr(library, "load", lambda: None)
    answers, users = answers_of(3, [2])
    with pytest.raises(RuntimeError, match=r"solvers\.library was not built"):
        library.adapt_simplex(answers, users, np.ones(3, np.float32), results_of(1, 3))
