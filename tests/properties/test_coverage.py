"""Intervals of margins cover the true margins as often as they say, where basis and population
are known.
"""

import numpy as np
import pytest

from lore_jax.data.splits import draw_shots
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.users.adapt import adapt
from lore_jax.users.predict import margins


# Margins have a root mean square of 1 / noise logits; the larger, the less a posterior is like a
# normal distribution.
@pytest.mark.parametrize(("rank", "noise"), [(5, 0.25), (8, 1.0)])
def test_ninety_in_a_hundred_intervals_cover_the_true_margin(rank, noise):
    config = SyntheticConfig(
        num_users=1000, num_prompts=200, pairs_per_user=(50, 50), dim=16, rank=rank, noise=noise
    )
    truth = synthetic(config, seed=1)
    known = truth.prefs.prompt < 100
    old, new = truth.prefs.take_pairs(known), truth.prefs.take_pairs(~known)
    rewards = truth.prefs.embeddings @ truth.basis
    true_margin = np.sum(
        truth.weights[new.user] * (rewards[new.chosen] - rewards[new.rejected]), axis=1
    )
    for shots in (5, 10, 20):
        low, high = margins(
            truth.model, adapt(truth.model, draw_shots(old, shots, seed=0)), new
        ).interval(0.9)
        covered = np.mean((low <= true_margin) & (true_margin <= high))
        assert 0.87 <= covered <= 0.93, (shots, covered)
