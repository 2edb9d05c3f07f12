import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from uncertain_model import TABLE, USERS, model, posterior

import lore_jax as lore
from lore_jax.steering.groups import GROUP_RULES, group_scores, pick_for_group

CANDIDATES = [3, 9, 1, 6]


def members(covariance=1.0):
    weights, spread = posterior()
    nothing = (np.zeros(USERS) for _ in range(4))
    return lore.Posterior(weights, np.float32(covariance) * spread, *nothing)


def by_hand(utility):
    """The rules, member by member and candidate by candidate."""
    members, c = utility.shape
    scores = {rule: [0.0] * c for rule in GROUP_RULES}
    for i in range(c):
        values = utility[:, i]
        scores["mean"][i] = sum(values) / members
        scores["maximin"][i] = min(values)
        scores["Nash"][i] = sum(-math.log1p(math.exp(-value)) for value in values) / members
        scores["approval"][i] = sum(row[i] > sum(row) / c for row in utility) / members
        for j in set(range(c)) - {i}:
            votes = sum(row[i] > row[j] for row in utility) + sum(
                0.5 for row in utility if row[i] == row[j]
            )
            scores["Borda"][i] += votes / members
            scores["Copeland"][i] += np.sign(votes - members / 2)
    return [scores[rule] for rule in GROUP_RULES]


@pytest.mark.parametrize("count", [4, 5])
def test_scores_against_counting_by_hand(count):
    utility = np.random.default_rng(count).normal(size=(count, 5)).astype(np.float32)
    utility[:, 4] = utility[:, 2]  # an equal reply
    scores, majority = group_scores(jnp.asarray(utility))
    np.testing.assert_allclose(scores, by_hand(utility.astype(np.float64)), atol=1e-5)
    for i, j in itertools.permutations(range(5), 2):
        ahead = (utility[:, i] > utility[:, j]).mean() - (utility[:, j] > utility[:, i]).mean()
        assert majority[i, j] == 0.5 * (1 + np.sign(ahead))


def test_the_rules_disagree_where_they_should():
    # Two love the second reply, one hates it; the third offends nobody.
    utility = jnp.array([[0.0, 3.0, 0.5], [0.0, 3.0, 0.5], [0.0, -4.0, 0.2]])
    scores, _ = group_scores(utility)
    winner = dict(zip(GROUP_RULES, np.argmax(scores, axis=1).tolist(), strict=True))
    assert winner["mean"] == 1
    assert winner["Copeland"] == 1
    assert winner["maximin"] == 2
    assert winner["Nash"] == 2


def test_without_uncertainty_the_winner_never_changes():
    exact = model().replace(basis_posterior=None, item_effects=None)
    verdict = pick_for_group(exact, members(0.0), TABLE, CANDIDATES, draws=8, key=jax.random.key(0))
    scores = lore.score(exact, members(), TABLE, CANDIDATES)
    expected = by_hand((scores - scores[:, [verdict.population]]).astype(np.float64))
    np.testing.assert_allclose(verdict.score, expected, atol=1e-4)
    assert verdict.of("mean") == int(np.argmax(scores.mean(axis=0)))
    np.testing.assert_array_equal(verdict.row, np.array(CANDIDATES)[verdict.pick])
    np.testing.assert_allclose(verdict.share.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(verdict.changes[GROUP_RULES.index("mean")], 0.0, atol=1e-6)
    assert verdict.decided()[GROUP_RULES.index("mean")]


def test_a_verdict_that_is_noise_says_so():
    verdict = pick_for_group(
        model(), members(400.0), TABLE, CANDIDATES, draws=400, key=jax.random.key(0)
    )
    # Maximin is sure of the population's pick: somebody loses by any other.
    assert not np.delete(verdict.decided(0.9), GROUP_RULES.index("maximin")).any()
    np.testing.assert_allclose(verdict.majority + verdict.majority.T, 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"draws": 0}, "draws is 0: 1 or more"),
        ({"candidates": np.zeros((5, 2), int)}, r"candidates has shape \(5, 2\)"),
        ({"candidates": np.zeros(0, int)}, "there are 0 candidates"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        pick_for_group(
            model(),
            members(),
            TABLE,
            **{"candidates": CANDIDATES, **arguments},
            key=jax.random.key(0),
        )


def test_a_group_of_nobody_and_a_level_that_is_none():
    with pytest.raises(ValueError, match="there are 0 users"):
        pick_for_group(
            model(), members().take(np.arange(0)), TABLE, CANDIDATES, key=jax.random.key(0)
        )
    verdict = pick_for_group(model(), members(), TABLE, [3], draws=4, key=jax.random.key(0))
    assert verdict.pick.tolist() == [0] * len(GROUP_RULES)
    with pytest.raises(ValueError, match="level is 0"):
        verdict.decided(0.0)
