"""Padding of the context changes nothing; targets do not see one another."""

import jax
import numpy as np

from lore_jax.methods.rivals.pair_transformer import PairTransformer


def test_targets_see_the_real_context_alone():
    rng = np.random.default_rng(0)
    context, targets = rng.normal(size=(2, 5, 8)).astype(np.float32)
    real = np.array([True, False, True, True, False])
    network = PairTransformer(layers=1, heads=2)
    params = network.init(jax.random.key(0), context, targets, real)
    whole = network.apply(params, context, targets, real)
    assert np.ptp(whole) > 1e-3
    without = network.apply(params, context[real], targets, real[real])
    np.testing.assert_allclose(without, whole, atol=1e-5)
    few = network.apply(params, context, targets[:2], real)
    np.testing.assert_allclose(few, whole[:2], atol=1e-5)
    turned = network.apply(params, -context, targets, real)
    assert np.abs(turned - whole).max() > 1e-4
