"""Users' weights as what adapters are multiplied by, and which settings cannot be."""

import numpy as np
import pytest

from lore_jax.steering.mixing_weights import MergeConfig, mixing_weights


def test_the_ways_of_reading_weights():
    raw = np.array([[1.0, 3.0, -2.0], [0.0, 0.0, 5.0]])
    shares = mixing_weights(raw, MergeConfig(weighting="softmax", temperature=2.0))
    expected = np.exp(raw / 2.0) / np.exp(raw / 2.0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, expected, rtol=1e-6)
    signed = mixing_weights(raw, MergeConfig(weighting="signed", top_k=2))
    np.testing.assert_array_equal(signed, [[0.0, 3.0, -2.0], [0.0, 0.0, 5.0]])
    kept = mixing_weights(np.array([[0.5, 0.2, 0.3]]), MergeConfig(top_k=2))
    np.testing.assert_allclose(kept, [[0.625, 0.0, 0.375]])


@pytest.mark.parametrize(
    ("weights", "config", "message"),
    [
        ([0.5, 0.6], {}, "user 'bob' has weights 0.5, 0.6: 0 or more and a sum of 1"),
        ([1.5, -0.5], {}, "user 'bob' has weights 1.5, -0.5"),
        ([np.nan, 1.0], {"weighting": "signed"}, "user 'bob' has weights nan, 1: finite"),
        ([0.0, 0.0], {"weighting": "signed"}, "at least one that is not 0"),
        ([0.5, 0.5], {"top_k": 3}, "top_k is 3: at most 2"),
    ],
)
def test_bad_weights_are_refused_by_their_user(weights, config, message):
    with pytest.raises(ValueError, match=message):
        mixing_weights(np.array([[0.5, 0.5], weights]), MergeConfig(**config), ["ann", "bob"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "ties"}, "method is 'ties': one of"),
        ({"weighting": "raw"}, "weighting is 'raw'"),
        ({"weighting": "softmax", "temperature": 0.0}, "temperature is 0.0: a positive"),
        ({"temperature": 2.0}, "only softmax takes one, the weighting is simplex"),
        ({"top_k": 0}, "top_k is 0: 1 or more"),
        ({"rank": 4}, "rank is 4: only svd takes one, the method is cat"),
        ({"method": "svd", "rank": 0}, "rank is 0: 1 or more"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MergeConfig(**settings)
