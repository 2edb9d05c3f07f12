"""Features of texts: what is counted, and correlations against SciPy, a regression and chance."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from synthetic_results import preferences

from lore_jax.evaluation.disagreement import axes, prompts_of_responses
from lore_jax.evaluation.text_features import (
    FEATURES,
    correlations,
    describe_features,
    feature_table,
)
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior

NAMES = list(FEATURES)


@pytest.mark.parametrize(
    ("text", "feature", "count"),
    [
        ("- one\n* two\n  3. three\n-not one\n\u2022 four", "list items", 4),
        ("It\u2019s fine \U0001f600\U0001f680 \u2764", "emoji", 3),
        ("What? Why?!", "question marks", 2),
        ("What? Why?!", "exclamation marks", 1),
        ("See:\n```python\nx\n```\nand\n```\ny\n```", "code blocks", 2),
        ("", "length", 0),
        ("four", "length", 4),
    ],
)
def test_what_is_counted(text, feature, count):
    value = feature_table([text])[0, NAMES.index(feature)]
    assert value == pytest.approx(np.log1p(count))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I\u2019m sorry, but no.", 1.0),
        ("Well, I cannot do that.", 1.0),
        ("i can't", 1.0),
        ("I am unable to help.", 1.0),
        ("You cannot miss it, sorry!", 0.0),
    ],
)
def test_refusals(text, refused):
    assert feature_table([text])[0, NAMES.index("refusals")] == refused


def drawn(rng, n=320, prompts=80, directions=3):
    features = np.zeros((n, len(NAMES)))
    features[:, 0] = rng.lognormal(size=n)
    for column in range(1, len(NAMES)):
        features[rng.choice(n, 15, replace=False), column] = rng.lognormal(size=15)
    return rng.standard_t(3, size=(n, directions)), features, rng.permutation(n) % prompts


def test_a_correlation_is_that_of_residuals_with_fishers_interval():
    rng = np.random.default_rng(0)
    directions, features, group = drawn(rng, directions=1)
    directions[:, 0] += 2.0 * features[:, 0]
    tried, (entries,) = correlations(directions, features, group)
    assert tried == len(NAMES)
    # Residuals of a least-squares fit on the prompts, and SciPy's correlation of them.
    dummies = np.eye(80)[group]

    def residual(values):
        return values - dummies @ np.linalg.lstsq(dummies, values, rcond=None)[0]

    scores = scipy.stats.norm.ppf((scipy.stats.rankdata(residual(directions[:, 0])) - 0.5) / 320)
    r = scipy.stats.pearsonr(residual(scores), residual(features[:, 0])).statistic
    assert entries[0]["feature"] == NAMES[0]
    assert entries[0]["correlation"] == pytest.approx(r)
    reach = scipy.stats.norm.ppf(1 - 0.025 / tried) / np.sqrt(320 - 80 - 2)
    assert entries[0]["low"] == pytest.approx(np.tanh(np.arctanh(r) - reach))
    assert entries[0]["high"] == pytest.approx(np.tanh(np.arctanh(r) + reach))


def test_where_nothing_goes_with_anything_little_is_named():
    """Any of 21 correlations, heavy-tailed loadings, rare features: at most 5 % (here 2 sigma)."""
    named = 0
    for seed in range(200):
        _, found = correlations(*drawn(np.random.default_rng(seed)))
        named += any(found)
    assert named <= 200 * 0.05 + 2 * np.sqrt(200 * 0.05 * 0.95)


def test_too_few_responses_or_features_that_do_not_vary():
    rng = np.random.default_rng(0)
    directions, features, group = drawn(rng)
    assert correlations(directions[:20], features[:20], np.arange(20)) is None
    assert correlations(directions, np.ones_like(features), group) is None


def test_the_directions_are_the_axes_and_the_population():
    prefs = preferences(0, users=20, pairs=20)
    prior = GaussianPrior(jnp.ones(3), jnp.eye(3))
    model = Model(LinearBasis(3), {"V": jnp.eye(3)}, jnp.float32(1.0), prior)
    weights = np.random.default_rng(0).normal(size=(20, 3))
    prompt = prompts_of_responses(prefs)
    loadings = axes(model, weights, prefs.embeddings, prompt=prompt).loadings
    long = np.nan_to_num(loadings[:, 0])
    texts = [("", "x" * int(50 + 10 * value / np.abs(long).max())) for value in long]
    found = describe_features(model, weights, prefs.embeddings, texts, prompt=prompt)
    assert found["responses"] == (prompt >= 0).sum()
    assert len(found["axes"]) == loadings.shape[1]
    assert found["tried"] == 1 + loadings.shape[1]
    (entry,) = found["axes"][0]
    assert entry["feature"] == "length"
    assert entry["low"] > 0.5
    assert describe_features(model, weights, prefs.embeddings, [], prompt=prompt) is None
    with pytest.raises(ValueError, match="1 texts are given"):
        describe_features(model, weights, prefs.embeddings, texts[:1], prompt=prompt)
