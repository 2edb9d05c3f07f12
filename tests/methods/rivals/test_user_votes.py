"""Votes against a transcription in loops."""

import dataclasses

import numpy as np
import pytest
from few_items import few_items, nearest_users


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
    predictor = nearest_users(fit, devices=devices)
    shots, test = new.take_pairs(new.row % 2 == 0), new.take_pairs(new.row % 2 == 1)
    expected = transcribed(fit, shots, test, 3.0)
    assert np.ptp(expected) > 0.5
    margins = predictor.adapted(shots, test)
    np.testing.assert_allclose(margins.mean, expected, atol=1e-4)
    np.testing.assert_array_equal(margins.variance, 0.0)
    nobody = new.take_pairs(np.zeros(new.num_pairs, bool))
    population = transcribed(fit, nobody, test, 3.0)
    np.testing.assert_allclose(predictor.adapted(nobody, test).mean, population, atol=1e-4)
