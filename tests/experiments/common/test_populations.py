"""Simulated populations: who is asked about what, what is answered, and what shots are worth."""

import numpy as np
import pytest

import lore_jax as lore
from experiments.common import populations
from experiments.common.populations import Sizes

SIZES = Sizes(fresh=400, prompts=40)


def asked(kind, users=300, prompts=40, each=8, spread=0.7, seed=0):
    rng = np.random.default_rng(seed)
    tastes = populations.draw_tastes(SIZES, kind, spread, rng)
    items = populations.draw_items(SIZES, kind, prompts, rng)
    weights, share = populations.draw_users(kind, tastes, users, rng)
    return tastes, items, populations.ask(items, weights, share, np.arange(prompts), each, rng)


@pytest.mark.parametrize("kind", ["alike", "differ", "topics", "mixes", "offsets"])
def test_answers_follow_the_rewards(kind):
    _, items, answered = asked(kind)
    prefs = answered.prefs
    assert prefs.dim == populations.DIM
    assert prefs.pairs_per_user().tolist() == [8] * 300
    for user in range(5):  # no prompt twice
        assert len(set(prefs.prompt[prefs.user == user].tolist())) == 8
    reward = items.features @ answered.weights.T + items.quality[:, None]
    margin = reward[prefs.chosen, prefs.user] - reward[prefs.rejected, prefs.user]
    np.testing.assert_allclose(answered.probability, 1 / (1 + np.exp(-margin)), rtol=1e-6)
    # Recorded choices are as probable as they are said to be.
    allowed = 4 * np.sqrt(0.25 / prefs.num_pairs)
    first = np.where(prefs.chosen % 2 == 0, answered.probability, 1 - answered.probability)
    assert np.mean(prefs.chosen % 2 == 0) == pytest.approx(first.mean(), abs=allowed)


@pytest.mark.parametrize("kind", ["alike", "topics", "mixes", "offsets"])
def test_users_agree_where_they_are_not_to_differ(kind):
    _, _, answered = asked(kind)
    assert (answered.weights == answered.weights[0]).all()
    assert len(np.unique(asked("differ")[2].weights, axis=0)) == 300


def test_users_are_asked_by_their_shares_of_the_topics():
    for kind in ("topics", "offsets"):
        _, items, answered = asked(kind)
        topic = items.topic[answered.prefs.prompt]
        np.testing.assert_array_equal(topic, answered.prefs.user % 2)
    _, items, answered = asked("mixes", prompts=400)
    of_user = np.bincount(answered.prefs.user, items.topic[answered.prefs.prompt]) / 8
    assert np.corrcoef(of_user, answered.share)[0, 1] > 0.9


def test_what_a_method_sees_tells_the_reward_of_offsets_and_not_of_topics():
    for kind, linear in (("topics", False), ("offsets", True)):
        tastes, items, _ = asked(kind)
        reward = items.features @ tastes.shared
        fitted = items.embeddings @ np.linalg.lstsq(items.embeddings, reward, rcond=None)[0]
        assert np.allclose(fitted, reward, atol=1e-4) == linear


def test_gains_of_the_oracle_grow_with_the_spread():
    def gain(spread):
        tastes, _, shots = asked("differ", spread=spread, each=20)
        rng = np.random.default_rng(1)
        fresh = populations.draw_items(SIZES, "differ", 40, rng)
        test = populations.ask(fresh, shots.weights, shots.share, np.arange(40), 20, rng)
        return populations.gain_of(populations.oracle(tastes), shots.prefs, test)

    gains = [gain(spread) for spread in (0.0, 0.5, 1.5)]
    assert gains[0] == 0.0
    assert gains[0] < gains[1] < gains[2]


def test_gains_are_in_expected_accuracy():
    tastes, _, answered = asked("differ")
    model = populations.oracle(tastes)
    right = populations.expected_right(
        lore.margins(model, lore.adapt(model, answered.prefs), answered.prefs).mean,
        answered.probability,
    )
    assert ((right == answered.probability) | (right == 1 - answered.probability)).all()
    no_shots = lore.draw_shots(answered.prefs, 0, seed=0)
    assert populations.gain_of(model, no_shots, answered) == 0.0
