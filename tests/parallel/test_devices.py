"""Both mappings over devices: what they compute, where things live, and what a compiled step sends
between devices.
"""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import problem, shard_copies

from lore_jax.fitting.config import PAPER_MINIBATCH, FitConfig
from lore_jax.fitting.fit import start
from lore_jax.fitting.programs import many_steps
from lore_jax.methods.gaussian import laplace_em
from lore_jax.methods.gaussian.laplace_em import EMConfig, PopulationHyper
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.simplex import joint_fit
from lore_jax.methods.simplex.config import SimplexSettings
from lore_jax.methods.simplex.joint_fit import SimplexHyper
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.model.basis import LinearBasis
from lore_jax.parallel.devices import (
    largest,
    over_shards,
    place,
    replicate,
    split,
    total,
    view_on_host,
)
from lore_jax.parallel.minibatches import PlacedMinibatches

MAPPINGS = ["jit", "pmap"]
PAPER = SimplexSettings()
DIM, RANK, RESPONSES = 17, 3, 101
MODULE = LinearBasis(RANK)
COLLECTIVE = re.compile(
    r"= (.*) (?:all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|"
    r"collective-broadcast)(?:-start)?\("
)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("count", [1, 8])
def test_totals_over_shards(mapping, count):
    devices = jax.devices()[:count]
    data, _ = place(problem(), 2.0, devices)

    def function(state, data, hyper):
        pairs = total(sum(jnp.sum(bucket.pair_weight) for bucket in data.buckets))
        return {
            "total": total(state),
            "largest": largest(state),
            "own": state * hyper,
            "pairs": pairs,
        }

    result = over_shards(function, mapping, devices=devices)(
        split(np.arange(1.0, count + 1.0), devices), data, jnp.asarray(10.0)
    )
    np.testing.assert_allclose(result["total"], np.full(count, count * (count + 1) / 2))
    np.testing.assert_allclose(result["largest"], np.full(count, count))
    np.testing.assert_allclose(result["own"], 10.0 * np.arange(1.0, count + 1.0))
    np.testing.assert_allclose(
        result["pairs"], np.full(count, problem().pair_weight.sum()), rtol=1e-6
    )
    assert all(len(leaf.sharding.device_set) == count for leaf in result.values())


def test_pairs_are_split_and_the_table_is_copied():
    devices, prefs = jax.devices(), problem()
    data, layout = place(prefs, 2.0, devices)
    for leaf in jax.tree.leaves(data.buckets):
        assert [shard.data.shape[0] for shard in leaf.addressable_shards] == [1] * 8
        assert {shard.device for shard in leaf.addressable_shards} == set(devices)
    assert [shard.data.shape for shard in data.embeddings.addressable_shards] == [
        prefs.embeddings.shape
    ] * 8
    np.testing.assert_array_equal(data.embeddings, prefs.embeddings)
    assert float(data.input_scale) == 2.0
    assert layout.num_users == prefs.num_users
    for users, ids in zip(data.users.buckets, layout.ids, strict=True):
        assert [shard.data.shape[0] for shard in users.addressable_shards] == [1] * 8
        np.testing.assert_array_equal(users, ids)
    copies = shard_copies({"V": np.eye(2, dtype=np.float32)}, devices)["V"]
    assert {shard.data.shape for shard in copies.addressable_shards} == {(1, 2, 2)}
    assert replicate(np.ones(3), devices[:2]).sharding.device_set == set(devices[:2])


def test_one_device_unless_told_otherwise():
    data, _ = place(problem(), 1.0)
    assert data.embeddings.sharding.device_set == {jax.devices()[0]}
    assert data.buckets[0].chosen.shape[0] == 1


def test_unknown_mapping_is_refused():
    with pytest.raises(ValueError, match="mapping is 'xmap': 'jit' or 'pmap' is expected"):
        over_shards(lambda *_: 0, "xmap")


def simplex_case(prefs, layout, devices, config=PAPER):
    def begin(start, data, hyper):
        return joint_fit.init(config, *start, data)

    logits = layout.spread(np.zeros((prefs.num_users, RANK), np.float32))
    start = shard_copies({"V": np.ones((DIM, RANK), np.float32)}, devices), logits
    return (
        begin,
        start,
        SimplexHyper(jnp.ones(RANK)),
        functools.partial(joint_fit.step, config=config),
    )


def minibatch_case(prefs, layout, devices):
    return simplex_case(prefs, layout, devices, PAPER_MINIBATCH.method)


def population_case(prefs, layout, devices):
    config = EMConfig()

    def begin(start, data, hyper):
        return laplace_em.init(config, MODULE, data, hyper, jax.random.key(0))

    one = jnp.ones(())
    hyper = PopulationHyper(one, one, jnp.ones(2), jnp.ones(RANK - 1))
    return begin, jnp.zeros(len(devices)), hyper, functools.partial(laplace_em.step, config=config)


def sent(case, count, users, mapping):
    """How many numbers each collective operation of a compiled step moves."""
    prefs, devices = problem(users=users, responses=RESPONSES, dim=DIM), jax.devices()[:count]
    data, layout = place(prefs, 1.0, devices)
    if case is minibatch_case:
        data = next(PlacedMinibatches(prefs, 1.0, devices, 2).in_turn([0]))
    begin, start, hyper, step = case(prefs, layout, devices)
    shapes = jax.eval_shape(over_shards(begin, devices=devices), start, data, hyper)
    state = jax.tree.map(lambda leaf: split(np.zeros(leaf.shape, leaf.dtype), devices), shapes)
    compiled = (
        over_shards(functools.partial(step, module=MODULE), mapping, devices=devices)
        .lower(state, data, hyper)
        .compile()
    )
    results = [
        match.group(1) for match in map(COLLECTIVE.search, compiled.as_text().splitlines()) if match
    ]
    shapes = [re.findall(r"\w+\[([\d,]*)\]", result) for result in results]
    return [
        sum(math.prod(int(n) for n in shape.split(",") if n) for shape in result)
        for result in shapes
    ]


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize(
    ("case", "shared"),
    [
        (simplex_case, DIM * RANK),
        (minibatch_case, DIM * RANK),
        (population_case, (DIM + RESPONSES) * RANK),
    ],
    ids=["simplex", "simplex in minibatches", "population"],
)
def test_a_step_sends_the_gradient_of_what_is_shared_and_a_few_numbers(case, shared, mapping):
    cases = [(2, 16), (8, 64)] if mapping == "pmap" else [(2, 16), (4, 16), (8, 64)]
    for numbers in (sent(case, count, users, mapping) for count, users in cases):
        assert (
            shared <= sum(numbers) <= shared + 3
        )  # counts and the loss; the same for any users, pairs and devices
        assert len(numbers) <= 2
    if mapping == "jit":
        assert sum(sent(case, 1, 16, mapping)) == 0  # a device alone has nobody to send to


@pytest.mark.parametrize(
    "method",
    [
        SimplexConfig(rank=2),
        PopulationConfig(
            rank=2,
            ridge_population=1.0,
            ridge_deviation=1.0,
            item_effects=1.0,
            item_effects_deviation=1.0,
            num_components=2,
            logit_scale=1.2,
        ),
    ],
    ids=["simplex", "population"],
)
def test_chunks_share_one_program_and_donate_the_state(method):
    many_steps.cache_clear()
    devices = jax.devices()[:4]
    running, state = start(problem(), FitConfig(method), key=jax.random.key(0), devices=devices)
    for taken in (0, 2, 4):
        before = jax.tree.leaves(state)
        state, _ = running.advance(state, taken, 2)
        assert all(leaf.is_deleted() for leaf in before)
    assert many_steps.cache_info().currsize == 1
    unchosen = dataclasses.replace(method, **dict.fromkeys(running.choice))
    assert many_steps(unchosen, 2, "jit", tuple(devices))._cache_size() == 1
    assert many_steps.cache_info().currsize == 1  # that was the program that ran, not another


def test_a_view_on_the_host_leaves_the_buffer_free():
    double = jax.jit(lambda x: 2.0 * x, donate_argnums=0)
    first = jnp.arange(3.0)
    assert view_on_host(first).tolist() == [0.0, 1.0, 2.0]
    second = double(first)
    assert first.is_deleted()
    np.testing.assert_array_equal(view_on_host(second), [0.0, 2.0, 4.0])
