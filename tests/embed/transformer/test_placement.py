"""Rows over one axis of the mesh, matrices over the other."""

import jax
import pytest

from lore_jax.embed.transformer.config_file import read_architecture
from lore_jax.embed.transformer.layers import (
    Parameter,
)
from lore_jax.embed.transformer.placement import make_placement


@pytest.fixture
def model(reward_folder):
    return read_architecture(reward_folder)


def test_rows_and_matrices_are_split(model):
    placement = make_placement(model, jax.devices()[:4], model_parallel=2)
    assert placement.data_parallel == 2
    matrix = Parameter("layers.{}.up", (48, 32), split=0)
    assert placement.rows.shard_shape((4, 16)) == (2, 16)
    assert placement.sharding(matrix).shard_shape((48, 32)) == (24, 32)
    assert placement.sharding(matrix, stacked=True).shard_shape((3, 48, 32)) == (3, 24, 32)
    assert placement.sharding(Parameter("norm", (32,))).shard_shape((32,)) == (32,)


@pytest.mark.parametrize(
    ("model_parallel", "message"),
    [
        (0, "model_parallel is 0: a divisor of the 8 devices"),
        (3, "model_parallel is 3: a divisor of the 8 devices"),
        (4, "model_parallel is 4: a divisor of the model's 2 key heads"),
    ],
)
def test_a_number_of_devices_that_does_not_fit_is_refused(model, model_parallel, message):
    with pytest.raises(ValueError, match=message):
        make_placement(model, model_parallel=model_parallel)
