"""Votes against a transcription in loops; items that nobody judged; who it is for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rival_populations
from joint_fit import problem

from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.base import FoldWeights
from lore_jax.methods.rivals import nearest_users
from lore_jax.methods.rivals.nearest_users import NearestUsersConfig
from lore_jax.parallel.devices import over_shards, place


def few_items(seed=0):
    """21 users who judge 6 responses; user 3 has no pairs, those of user 5 weigh nothing."""
    prefs = problem(seed, responses=6)
    return prefs


def fitted(prefs, kappa=3.0, devices=1):
    config = FitConfig(NearestUsersConfig(kappa=kappa))
    key, devices = jax.random.key(0), jax.devices()[:devices]
    return fit_predictor(prefs, config, key=key, devices=devices)[0]


def transcribed(fit, shots, test, kappa):
    """Log odds of each test pair, one after the other."""
    score, judged = np.zeros((2, fit.num_users, fit.num_responses))
    for user in range(fit.num_users):
        for row in range(fit.num_responses):
            mine = (fit.user == user) & (fit.pair_weight > 0)
            wins, losses = (fit.chosen[mine] == row).sum(), (fit.rejected[mine] == row).sum()
            score[user, row] = (wins - losses) / (wins + losses + 1.0)
            judged[user, row] = wins + losses > 0
    out = []
    for user, chosen, rejected in zip(test.user, test.chosen, test.rejected, strict=True):
        likes, votes, for_it, all_ = 0.0, 0.0, 0.0, 0.0
        for other in range(fit.num_users):
            if not (judged[other, chosen] and judged[other, rejected]):
                continue
            agree = common = 0.0
            for i in np.flatnonzero(shots.user == user):
                if judged[other, shots.chosen[i]] and judged[other, shots.rejected[i]]:
                    sign = np.sign(score[other, shots.chosen[i]] - score[other, shots.rejected[i]])
                    agree += shots.pair_weight[i] * sign
                    common += shots.pair_weight[i] * abs(sign)
            similarity = max(0.0, agree / (common + 5.0)) ** 2
            vote = 0.5 + 0.5 * np.sign(score[other, chosen] - score[other, rejected])
            likes, votes = likes + vote, votes + 1.0
            for_it, all_ = for_it + similarity * vote, all_ + similarity
        share = (kappa * (1.0 + likes) / (2.0 + votes) + for_it) / (kappa + all_)
        out.append(np.log(share / (1.0 - share)))
    return np.array(out)


@pytest.mark.parametrize("devices", [1, 8])
def test_margins_are_the_votes(devices):
    fit, new = few_items(), few_items(1)
    new = dataclasses.replace(new, embeddings=fit.embeddings)
    predictor = fitted(fit, devices=devices)
    shots, test = new.take_pairs(new.row % 2 == 0), new.take_pairs(new.row % 2 == 1)
    expected = transcribed(fit, shots, test, 3.0)
    assert np.ptp(expected) > 0.5
    margins = predictor.adapted(shots, test)
    np.testing.assert_allclose(margins.mean, expected, atol=1e-4)
    np.testing.assert_array_equal(margins.variance, 0.0)
    nobody = new.take_pairs(np.zeros(new.num_pairs, bool))
    population = transcribed(fit, nobody, test, 3.0)
    np.testing.assert_allclose(predictor.adapted(nobody, test).mean, population, atol=1e-4)


def test_items_of_no_pair_are_a_coin_and_a_row_may_move():
    fit = few_items()
    predictor, order = fitted(fit), np.array([3, 1, 0, 5, 4, 2], np.int32)
    moved = dataclasses.replace(
        fit,
        embeddings=fit.embeddings[np.argsort(order)],
        chosen=order[fit.chosen],
        rejected=order[fit.rejected],
    )
    expected = predictor.fitted(fit, fit)
    np.testing.assert_allclose(predictor.fitted(moved, moved).mean, expected.mean, atol=1e-6)
    unknown = dataclasses.replace(fit, embeddings=fit.embeddings + 1.0)
    np.testing.assert_array_equal(predictor.adapted(fit, unknown).mean, 0.0)


def test_folds_are_predicted_as_the_predictor_predicts():
    prefs, method = few_items(), NearestUsersConfig(kappa=3.0)
    data, layout = place(prefs, 1.0)

    def predict(_, data, hyper):
        fold = [FoldWeights(*[bucket.pair_weight] * 3) for bucket in data.buckets]
        scores = method.init(data, hyper, key=jax.random.key(0))
        return method.predict(scores, data, fold, hyper)

    program = over_shards(predict, donate=False)
    predictions = program(jnp.zeros(1), data, jnp.zeros(prefs.num_users))
    expected = -fitted(prefs).adapted(prefs, prefs).log_probability
    for bucket, prediction in enumerate(predictions):
        pairs = layout.pairs(bucket)[0]
        real = pairs >= 0
        np.testing.assert_allclose(prediction.loss[0, 0][real], expected[pairs[real]], atol=1e-4)


def test_it_predicts_known_items_by_those_who_agree():
    pairs = rival_populations.mixed_rewards(responses=16, known=True, pairs=40)
    method = NearestUsersConfig()
    assert rival_populations.gain(method, pairs, holdout="known items") > 3.0


def test_what_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="kappa is 0: a positive number"):
        NearestUsersConfig(kappa=0)
    monkeypatch.setattr(nearest_users, "MOST_SCORES", 100)
    with pytest.raises(ValueError, match=r"21 users times 6 responses: .*at most 100"):
        NearestUsersConfig().stages(few_items())
