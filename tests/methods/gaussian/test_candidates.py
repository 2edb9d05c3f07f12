import dataclasses

import numpy as np
import pytest
from joint_fit import GIVEN, problem

from lore_jax.data.preferences import num_judged
from lore_jax.methods.bradley_terry import RIDGES
from lore_jax.methods.gaussian.candidates import sizes_of_item_effects
from lore_jax.methods.gaussian.method import PopulationConfig


def test_everything_open_is_chosen_in_three_stages():
    prefs = problem(dim=12)
    population, deviations, rank = PopulationConfig().stages(prefs)
    assert population.name == "population"
    sizes = sizes_of_item_effects(num_judged(prefs))
    assert [tuple(choice.values()) for choice in population.choices({})] == [
        (1, ridge, 30.0, size, 0.0) for ridge in RIDGES for size in sizes
    ]
    # Nobody deviates yet: one variant, so that a stage with one candidate costs nothing.
    assert population.method.variants() == [{"num_components": 0, "logit_scale": 1.0}]
    winner = population.choices({})[0]
    assert deviations.name == "deviations"
    assert deviations.choices(winner) == [
        {
            **winner,
            "rank": 9,
            "ridge_deviation": ridge,
            "item_effects_deviation": size,
            "num_components": 0,
        }
        for size in (0.0, 1.0)
        for ridge in (30.0, 10.0, 3.0, 1.0)
    ]
    # Mixtures are learned for the best of them.
    assert deviations.variants() == PopulationConfig().variants()[:5]
    assert rank.variants() == PopulationConfig().variants()
    flags = [
        [bool(hyper.mixture) for hyper in stage.method.hypers(stage.choices(winner), prefs)]
        for stage in (deviations, rank)
    ]
    assert flags == [[False] * 8, [False, True, True]]
    winner = deviations.choices(winner)[2]
    # That nobody deviates stays a candidate, the first.
    assert rank.choices(winner) == [
        {**winner, "rank": count, "num_components": most}
        for count, most in ((1, 0), (3, 8), (9, 8))
    ]
    for stage in (deviations, rank):
        assert stage.method.variants() == PopulationConfig().variants()
    assert population.open_ended == ("ridge_population",)
    assert deviations.open_ended == ("ridge_deviation",)


def test_stages_fit_in_fewer_steps_and_else_as_asked():
    config = PopulationConfig(steps=500, learning_rate=0.01, hidden=(4,), ridge_population=2.0)
    population, deviations, rank = config.stages(problem())
    quick = dataclasses.replace(config, steps=60, learning_rate=0.1)
    assert deviations.method == rank.method == quick
    alone = {"rank": 1, "num_components": 0, "logit_scale": 1.0}
    assert population.method == dataclasses.replace(quick, **alone)


def test_what_is_given_is_not_asked():
    prefs = problem()
    population, rank = GIVEN.stages(prefs)
    (first,) = population.choices({})
    (last,) = rank.choices({**first, **population.method.variants()[0]})
    (variant,) = GIVEN.variants()
    choice = {**last, **variant}
    assert choice == {name: getattr(GIVEN, name) for name in choice}
    assert set(choice) == {
        *("rank", "ridge_population", "ridge_deviation"),
        *("item_effects", "item_effects_deviation", "num_components", "logit_scale"),
    }
    given = PopulationConfig(rank=4, ridge_deviation=5.0, item_effects_deviation=0.0)
    _, rank = given.stages(prefs)
    assert rank.candidates == ({"rank": 4, "num_components": 8},)  # not that nobody does


def test_ranks_are_those_that_the_embeddings_have():
    _, deviations, rank = PopulationConfig().stages(problem(dim=6))
    assert {choice["rank"] for choice in deviations.candidates} == {3}
    assert {choice["rank"] for choice in rank.candidates} == {1, 3}
    (alone,) = PopulationConfig().stages(problem(dim=2))
    assert {choice["rank"] for choice in alone.candidates} == {1}
    assert len(alone.method.variants()) == 5  # the only stage chooses the logit scale as well
    *_, rank = PopulationConfig(hidden=(4,)).stages(problem(dim=6))
    assert {choice["rank"] for choice in rank.candidates} == {1, 3, 9}
    with pytest.raises(ValueError, match="rank is 7: 1 to 6, the dim of the embeddings"):
        PopulationConfig(rank=7).stages(problem(dim=6))


def test_a_mixture_that_is_asked_for_needs_users_who_deviate():
    *_, rank = PopulationConfig(num_components=2).stages(problem(dim=12))
    assert {choice["rank"] for choice in rank.choices({"rank": 1})} == {3, 9}
    with pytest.raises(ValueError, match="num_components is 2, but dim 2 leaves no rank above 1"):
        PopulationConfig(num_components=2).stages(problem(dim=2))


def test_variants_are_scales_without_a_mixture_and_numbers_of_components():
    scales, counts = (1.0, 1.15, 1.3, 1.5, 1.75), (2, 4, 8)
    assert PopulationConfig().variants() == [
        *({"num_components": 0, "logit_scale": scale} for scale in scales),
        *({"num_components": count, "logit_scale": 1.0} for count in counts),
    ]
    assert PopulationConfig(num_components=4, logit_scale=1.3).variants() == [
        {"num_components": 4, "logit_scale": 1.3}
    ]
    assert PopulationConfig(logit_scale=1.3).variants() == [
        {"num_components": count, "logit_scale": 1.3} for count in (0, *counts)
    ]


def test_few_responses_have_effects_of_their_own():
    assert sizes_of_item_effects(1) == sizes_of_item_effects(399) == (2.0, 1.0)
    assert sizes_of_item_effects(400) == (2.0, 1.0, 0.5)
    assert sizes_of_item_effects(1600) == (2.0, 1.0, 0.5, 0.25)
    assert np.all(np.diff(sizes_of_item_effects(10**6)) < 0)
