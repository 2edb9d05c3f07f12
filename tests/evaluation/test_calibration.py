"""Calibration of pooled counts against the calibration of all pairs together."""

import numpy as np

from lore_jax.evaluation import metrics
from lore_jax.evaluation.calibration import count_confidences, pool


def test_pooled_counts_give_the_calibration_of_all_pairs_together():
    rng = np.random.default_rng(1)
    parts = [np.clip(rng.beta(3, 2, 4000), 0.001, 0.999) for _ in range(3)]
    pooled, together = pool([count_confidences(part) for part in parts]), np.concatenate(parts)
    np.testing.assert_allclose(pooled.ece, metrics.expected_calibration_error(together), atol=2e-3)
    np.testing.assert_allclose(pooled.ece_bias, metrics.ece_bias(together, rng), rtol=0.1)
    assert pooled.count.sum() == 12_000
    assert pooled.count.min() > 0.7 * 12_000 / 15
    assert np.isnan(pool([count_confidences(np.zeros(0))]).ece)
