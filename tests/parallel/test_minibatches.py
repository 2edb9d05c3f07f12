"""Mini-batches of the table from outside, and the simplex fit on them against NumPy."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from simplex_transcription import Adam, Transcription

from lore_jax.data.preferences import from_arrays
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import start
from lore_jax.fitting.programs import one_step
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.parallel.buckets import deal
from lore_jax.parallel.minibatches import PlacedMinibatches, assign_minibatches, lay_out_minibatches

METHOD = SimplexConfig(rank=3, steps=24, learning_rate=0.1, num_minibatches=4, temperature=2.0)


def problem(seed=0, *, users=21, prompts=20, of_prompt=4, shuffled=False, unused=0.0):
    """Ragged users compare replies to one prompt; user 3 has no pairs. Shuffled: a prompt's rows
    lie anywhere.
    """
    rng = np.random.default_rng(seed)
    count = rng.choice([3, 4, 5, 9], users)
    count[3] = 0
    user = np.repeat(np.arange(users), count)
    prompt = rng.choice(np.flatnonzero(rng.random(prompts) >= unused), len(user))
    chosen = rng.integers(of_prompt, size=len(user))
    rejected = (chosen + rng.integers(1, of_prompt, size=len(user))) % of_prompt
    slot = rng.permutation(prompts * of_prompt) if shuffled else np.arange(prompts * of_prompt)
    table = rng.normal(size=(prompts * of_prompt, 6)).astype(np.float32)
    rows = [slot[prompt * of_prompt + reply] for reply in (chosen, rejected)]
    return from_arrays(
        table,
        *rows,
        user,
        prompt=prompt,
        pair_weight=rng.uniform(0.5, 2.0, len(user)),
        num_users=users,
    )


def components(prefs):
    """The responses that chains of pairs tie together, by following them."""
    ties = {row: set() for row in np.union1d(prefs.chosen, prefs.rejected).tolist()}
    for left, right in zip(prefs.chosen.tolist(), prefs.rejected.tolist(), strict=True):
        ties[left].add(right)
        ties[right].add(left)
    result = []
    while ties:
        reached, ahead = set(), {next(iter(ties))}
        while ahead:
            reached |= ahead
            ahead = set().union(*(ties.pop(row) for row in ahead)) - reached
        result.append(reached)
    return result


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    count=st.integers(1, 12),
    shuffled=st.booleans(),
    unused=st.sampled_from([0.0, 0.7]),
)
def test_no_pair_crosses_and_minibatches_are_even(seed, count, shuffled, unused):
    prefs = problem(seed, shuffled=shuffled, unused=unused)
    minibatch, parts = assign_minibatches(prefs, count), components(prefs)
    assert all(len(set(minibatch[list(part)])) == 1 for part in parts)
    assert set(np.flatnonzero(minibatch >= 0)) == set().union(*parts)
    sizes = np.bincount(minibatch[minibatch >= 0])
    assert 1 <= len(sizes) <= count
    assert sizes.min() > 0
    if len(parts) >= count:
        assert sizes.max() <= len(minibatch[minibatch >= 0]) / count + 2 * max(map(len, parts))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    shards=st.integers(1, 5),
    shuffled=st.booleans(),
    unused=st.sampled_from([0.0, 0.7]),
)
def test_every_pair_once_and_its_own_rows(seed, shards, shuffled, unused):
    prefs = problem(seed, shuffled=shuffled, unused=unused)
    layout, result = deal(prefs, shards), []
    minibatches = list(lay_out_minibatches(prefs, layout, assign_minibatches(prefs, 4)))
    numbers = np.arange(prefs.num_responses)
    assert len({len(numbers[minibatch.rows]) for minibatch in minibatches}) == 1
    assert (
        len(
            {
                tuple(bucket.chosen.shape for bucket in minibatch.buckets)
                for minibatch in minibatches
            }
        )
        == 1
    )
    for minibatch in minibatches:
        rows = numbers[minibatch.rows]
        for bucket, ids in zip(minibatch.buckets, layout.ids, strict=True):
            assert bucket.chosen.shape[::2] == ids.shape
            for shard, shot, slot in zip(*np.nonzero(bucket.pair_weight), strict=True):
                at = shard, shot, slot
                result.append(
                    (
                        ids[shard, slot],
                        rows[bucket.chosen[at]],
                        rows[bucket.rejected[at]],
                        bucket.pair_weight[at],
                    )
                )
    expected = zip(prefs.user, prefs.chosen, prefs.rejected, prefs.pair_weight, strict=True)
    assert sorted(result) == sorted(expected)


def test_runs_of_the_table_are_not_copied_and_few_rows_in_use_are():
    def rows(prefs):
        return [
            minibatch.rows
            for minibatch in lay_out_minibatches(prefs, deal(prefs), assign_minibatches(prefs, 4))
        ]

    assert all(isinstance(part, slice) for part in rows(problem()))
    for prefs in (problem(shuffled=True), problem(prompts=60, unused=0.8)):
        parts = rows(prefs)
        assert all(isinstance(part, np.ndarray) for part in parts)
        assert set(np.concatenate(parts)) == set(prefs.chosen) | set(prefs.rejected)


@pytest.mark.parametrize("texts_of_their_own", [False, True])
def test_the_texts_of_a_user_are_spread_over_minibatches(texts_of_their_own):
    """Texts in the order of the users who judged them: a run of the table would be a few users'
    pairs, all of them.
    """
    rng, users, each, count = np.random.default_rng(0), 30, 20, 10
    user = np.repeat(np.arange(users), each)
    prompt = (
        np.arange(users * each) if texts_of_their_own else rng.integers(users * 2, size=len(user))
    )
    table = rng.normal(size=(2 * users * each, 3)).astype(np.float32)
    prefs = from_arrays(table, 2 * prompt, 2 * prompt + 1, user)
    minibatch = assign_minibatches(prefs, count)
    # Dealt without regard to users, twenty pairs stand in nine of ten minibatches; in the order of
    # users, in one or two.
    parts = [set(minibatch[prefs.chosen[user == number]]) for number in range(users)]
    assert np.mean([len(of_user) for of_user in parts]) > 7
    in_runs = all(
        isinstance(part.rows, slice) for part in lay_out_minibatches(prefs, deal(prefs), minibatch)
    )
    assert in_runs != texts_of_their_own


def test_a_conversation_that_everybody_judges_is_one_minibatch():
    prefs = problem(prompts=1, of_prompt=12)
    assert set(assign_minibatches(prefs, 8)) == {0}


def fit(prefs, method=METHOD, chunks=(24,), **where):
    running, state = start(prefs, FitConfig(method), key=jax.random.key(1), **where)
    taken, infos = 0, []
    for count in chunks:
        state, info = running.advance(state, taken, count)
        taken += count
        infos.append(info)
    fitted = running.finish(state)
    loss, grad_norm = (np.concatenate(parts) for parts in zip(*infos, strict=True))
    return {
        "V": np.asarray(fitted.model.params["V"]),
        "weights": np.asarray(fitted.users.weights),
        "loss": loss,
        "grad_norm": grad_norm,
    }


@pytest.mark.parametrize("pooled", [False, True])
def test_steps_equal_the_transcription(pooled):
    prefs, count = problem(), 4
    method = dataclasses.replace(METHOD, pooled=pooled)
    result = fit(prefs, method)
    state = start(prefs, FitConfig(method), key=jax.random.key(1))[1]
    directions = np.asarray(state.params["V"][0], np.float64)
    layout, truth = deal(prefs), Transcription(prefs, method)
    minibatch = assign_minibatches(prefs, count)
    logits = layout.collect(state.logits, np.zeros(3, np.float32)).astype(np.float64)
    everybody, losses = truth.users, []
    adams = [Adam(None, squares=0.98), Adam(None, squares=0.98)]
    truth.share = {u: truth.share(rows) for u, rows in enumerate(everybody)}
    for step in range(24):
        number = np.random.default_rng(step // count).permutation(count)[step % count]
        of_directions, of_logits, loss, counted = (
            np.zeros_like(directions),
            np.zeros_like(logits),
            0.0,
            0.0,
        )
        for user, rows in enumerate(everybody):
            inside = minibatch[prefs.chosen[rows]] == number
            share = truth.share[user][inside] * count
            weights, pairs = softmax(logits[user]), truth.pairs[rows[inside]]
            margin = pairs @ directions @ weights / 2.0
            pulled = pairs.T @ (-share / (1.0 + np.exp(margin))) / 2.0
            of_directions += np.outer(pulled, weights)
            of_weights = directions.T @ pulled
            of_logits[user] = weights * (of_weights - weights @ of_weights)
            loss, counted = loss + share @ np.log1p(np.exp(-margin)), counted + share.sum()
        losses.append(loss / counted)
        rate = 0.1 * (1 - step / 24)
        adams[0].rate, adams[1].rate = rate, 0.05 * rate
        directions, logits = adams[0](directions, of_directions), adams[1](logits, of_logits)
    np.testing.assert_allclose(result["loss"], losses, rtol=1e-4)
    np.testing.assert_allclose(result["V"], directions, rtol=1e-3, atol=1e-3)
    has_pairs = np.delete(np.arange(prefs.num_users), 3)
    np.testing.assert_allclose(
        result["weights"][has_pairs], softmax(logits[has_pairs], axis=1), atol=1e-3
    )


@pytest.mark.parametrize("mapping", ["jit", "pmap"])
def test_eight_devices_are_one(mapping):
    prefs = problem(shuffled=True)
    chex.assert_trees_all_close(
        fit(prefs, devices=jax.devices(), mapping=mapping), fit(prefs), rtol=1e-3, atol=1e-4
    )


def test_chunks_are_the_whole():
    chex.assert_trees_all_equal(fit(problem(), chunks=(5, 4, 15)), fit(problem()))


def test_a_table_without_room_passes_through_the_device(monkeypatch):
    expected = fit(problem())
    monkeypatch.setattr("lore_jax.parallel.minibatches.has_room", lambda *_: False)
    chex.assert_trees_all_equal(fit(problem()), expected)
    minibatches = PlacedMinibatches(problem(), 1.0, jax.devices()[:1], 4)
    assert len(minibatches) == 4
    assert [int(data.buckets[0].chosen.shape[0]) for data in minibatches.in_turn([2, 0, 2])] == [
        1,
        1,
        1,
    ]
    assert list(minibatches.in_turn([])) == []


@pytest.mark.parametrize("devices", [1, 8])
def test_one_program_for_all_minibatches_and_the_state_is_donated(devices):
    one_step.cache_clear()
    where = jax.devices()[:devices]
    running, state = start(problem(), FitConfig(METHOD), key=jax.random.key(1), devices=where)
    before = jax.tree.leaves(state)
    state, _ = running.advance(state, 0, 3)
    assert all(leaf.is_deleted() for leaf in before)
    running.advance(state, 3, 9)
    unchosen = dataclasses.replace(METHOD, rank=None)
    assert one_step(unchosen, "jit", tuple(where))._cache_size() == 1
    assert one_step.cache_info().currsize == 1  # that was the program that ran, not another
