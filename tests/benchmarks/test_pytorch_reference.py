"""The PyTorch versions that lore_jax is timed against have one loss, and lower it."""

import numpy as np
import pytest


def test_the_published_and_the_vectorised_steps_agree():
    torch = pytest.importorskip("torch")
    from benchmarks.pytorch_reference import published_adapt, published_fit, vectorised_fit

    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 8)).astype(np.float32) * 30
    user = np.repeat(np.arange(5), 6)
    chosen, rejected = rng.integers(30, size=30), rng.integers(30, size=30)
    losses = []
    for fit in (published_fit, vectorised_fit):
        torch.manual_seed(0)
        step = fit(table, chosen, rejected, user, 3)
        losses.append([step() for _ in range(5)])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]
    step = published_adapt(table, chosen, rejected, user, rng.normal(size=(8, 3)))
    first = step()
    assert [step() for _ in range(20)][-1] < first


def test_the_population_step_lowers_its_loss():
    pytest.importorskip("torch")
    from benchmarks.pytorch_reference import vectorised_population

    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 8)).astype(np.float32)
    rows = rng.integers(30, size=(2, 40))
    step = vectorised_population(table, *rows, np.repeat(np.arange(5), 8), 3)
    losses = [step() for _ in range(100)]
    assert losses[-1] < losses[0]
