"""Joint fits to answers of every kind: parameters recovered, users known, errors in one line."""

import dataclasses

import jax
import numpy as np
import pytest
from small_answers import QUICK_ANSWERS, small_answers

import lore_jax as lore
from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.datasets.synthetic_feedback import FIVE, STARS, TIES, TRUE_ANSWERS, synthetic_feedback
from lore_jax.fitting import feedback as feedback_fit
from lore_jax.fitting import progress
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.feedback import fit_feedback, start_feedback
from lore_jax.methods.base import Info
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.parallel.host_state import onto_devices, without_devices

METHOD = PopulationConfig(
    60,
    0.05,
    rank=3,
    ridge_population=1.0,
    ridge_deviation=1.0,
    item_effects=0.0,
    item_effects_deviation=0.0,
)
KINDS = {FIVE: 12, STARS: 12, TIES: 12, Kind("ranking", 3, places=2): 6}


@pytest.fixture(scope="module")
def fitted():
    truth = synthetic(
        SyntheticConfig(
            num_users=150, num_prompts=60, responses_per_prompt=3, dim=8, rank=3, noise=0.5
        ),
        seed=0,
    )
    drawn = synthetic_feedback(truth, KINDS, responses_per_prompt=3, seed=1)
    return truth, drawn, fit_feedback(drawn.feedback, FitConfig(METHOD), key=jax.random.key(0))


def test_cut_points_ties_and_intercepts_are_recovered(fitted):
    _, drawn, found = fitted
    # Shrinkage of the margins draws cut points towards 0, by a tenth at this size.
    for scale in (FIVE.scale, STARS.scale):
        expected = np.asarray(TRUE_ANSWERS.cuts(scale))
        np.testing.assert_allclose(found.answers.cuts(scale), expected, atol=0.45)
    assert float(found.answers.free[TIES.scale][0]) == pytest.approx(0.5, abs=0.2)
    assert float(found.answers.intercept) == pytest.approx(1.0, abs=0.3)
    assert np.corrcoef(found.users.intercept, drawn.intercept)[0, 1] > 0.75


def test_the_model_predicts_pairs_like_any_other(fitted):
    truth, _, found = fitted
    assert found.users.users.converged.all()
    assert found.loss[-1] < found.loss[0]
    pairs = truth.prefs

    def right(users):
        """The share of pairs of which the truly better response is found."""
        found_better = lore.margins(found.model, users, pairs).mean > 0
        return np.mean(found_better == (truth.probability > 0.5))

    population = lore.population_posterior(found.model, pairs.num_users)
    assert right(found.users.users) > right(population) + 0.05


def test_pairs_alone_are_fitted_as_by_fit(fitted):
    truth, _, _ = fitted
    drawn = synthetic_feedback(
        truth, {Kind("pair", 2, levels=2): 12}, responses_per_prompt=3, seed=2
    ).feedback
    given = dataclasses.replace(METHOD, steps=20, logit_scale=1.0, num_components=0)
    found = fit_feedback(drawn, FitConfig(given), key=jax.random.key(0))
    model, users, _ = lore.fit(strict_pairs(drawn), FitConfig(given), key=jax.random.key(0))
    both = [
        lore.margins(one, weights, truth.prefs)
        for one, weights in ((found.model, found.users.users), (model, users))
    ]
    np.testing.assert_allclose(both[0].mean, both[1].mean, atol=5e-3)
    np.testing.assert_allclose(both[0].variance, both[1].variance, rtol=0.02, atol=1e-3)


def test_item_effects_are_of_responses(fitted):
    _, drawn, _ = fitted
    method = dataclasses.replace(METHOD, steps=3, item_effects=0.5, item_effects_deviation=0.5)
    feedback = drawn.feedback.take_kinds("rating")
    model = fit_feedback(feedback, FitConfig(method), key=jax.random.key(0)).model
    assert len(model.item_effects.keys) == len(np.unique(feedback.blocks[0].items))


def test_what_it_refuses(fitted):
    _, drawn, _ = fitted
    table, key = drawn.feedback.embeddings, jax.random.key(0)
    with pytest.raises(ValueError, match="the method is SimplexConfig: a PopulationConfig"):
        fit_feedback(drawn.feedback, FitConfig(lore.SimplexConfig()), key=key)
    scaled = FitConfig(dataclasses.replace(METHOD, logit_scale=2.0))
    with pytest.raises(ValueError, match=r"logit_scale is 2\.0: 1 is expected"):
        fit_feedback(drawn.feedback, scaled, key=key)
    same = from_answers(table, [answers(STARS, [0, 1], [0, 0], outcome=[4, 4])])
    with pytest.raises(ValueError, match="all 2 ratings 1-5 are level 5: two levels"):
        fit_feedback(same, FitConfig(METHOD), key=key)
    alone = from_answers(table, [answers(STARS, [0, 1], [0, 1], outcome=[4, 3])])
    with pytest.raises(ValueError, match="none of them orders two responses"):
        fit_feedback(alone, FitConfig(METHOD), key=key)


def test_chunks_of_any_sizes_end_in_the_same_state(fitted):
    _, drawn, _ = fitted
    config = FitConfig(dataclasses.replace(METHOD, steps=6))
    ends = []
    for sizes in ((6,), (2, 4)):
        running, state = start_feedback(drawn.feedback, config, key=0)
        taken = 0
        for size in sizes:
            state, info = running.advance(state, taken, size)
            taken += size
            assert info.loss.shape == (size,)
        ends.append(running.finish(state))
    for a, b in zip(*(jax.tree.leaves((e.answers, e.users)) for e in ends), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_devices_share_the_answers_and_any_of_them_go_on(mapping):
    feedback = dataclasses.replace(small_answers(), encoder='{"model": "MiniLM"}')
    config = FitConfig(dataclasses.replace(QUICK_ANSWERS.fit.method, steps=4))
    three, spread = start_feedback(
        feedback, config, key=0, devices=jax.devices()[:3], mapping=mapping
    )
    one, alone = start_feedback(feedback, config, key=0)
    spread, _ = three.advance(spread, 0, 2)
    alone, _ = one.advance(alone, 0, 2)
    for leaf in jax.tree.leaves((three.data.buckets, spread.deviations)):
        assert [shard.data.shape[0] for shard in leaf.addressable_shards] == [1] * 3
    kept = without_devices(spread, three.layout)
    assert kept.deviations.shape == (feedback.num_users, 2)  # of rank 2 a deviation, an intercept
    _, of_moved = one.advance(onto_devices(kept, alone, one.layout), 2, 2)
    spread, info = three.advance(spread, 2, 2)
    alone, expected = one.advance(alone, 2, 2)
    np.testing.assert_allclose(info.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(of_moved.loss, expected.loss, rtol=1e-5)
    finished = three.finish(spread), one.finish(alone)
    assert {end.model.encoder for end in finished} == {feedback.encoder}
    ends = [
        (end.model.params, end.model.basis_posterior, end.answers, end.users) for end in finished
    ]
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_progress_is_said_where_it_is_asked_for(fitted, monkeypatch, capsys):
    class Running:
        method, steps, choice = METHOD, 2, {}

        def advance(self, state, taken, count):
            return state, Info(np.zeros(count), np.zeros(count))

        def finish(self, state):
            return fitted[2]

    monkeypatch.setattr(feedback_fit, "start_feedback", lambda *_, **__: (Running(), None))
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    for shown in (True, False):
        fit_feedback(fitted[1].feedback, key=0, progress=shown)
        assert ("2 of 2 steps done" in capsys.readouterr().err) == shown


def test_a_row_of_extreme_norm_counts_nothing(fitted):
    _, drawn, _ = fitted
    config = FitConfig(dataclasses.replace(METHOD, steps=6))
    table = drawn.feedback.embeddings.copy()
    table[5] *= 1e6
    long = dataclasses.replace(drawn.feedback, embeddings=table)
    with pytest.warns(RuntimeWarning, match="embeddings row 5 has norm"):
        found = fit_feedback(long, config, key=0)
    assert np.isfinite(found.loss).all()
    usual = fit_feedback(drawn.feedback, config, key=0)
    scale = float(found.model.input_scale) / float(usual.model.input_scale)
    assert scale == pytest.approx(1.0, abs=0.01)
