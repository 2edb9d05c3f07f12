"""The defaults of the simplex fit are the paper's, and values that cannot be meant are refused."""

import dataclasses

import pytest

from lore_jax.methods.simplex.config import SimplexSettings
from lore_jax.model.basis import LinearBasis
from lore_jax.solvers.likelihood import LOGISTIC


def test_defaults_are_the_paper():
    defaults = {field.name: field.default for field in dataclasses.fields(SimplexSettings)}
    assert defaults == {
        "steps": 1000,
        "learning_rate": 0.5,
        "temperature": 100.0,
        "scale": 1.0,
        "uniform_logits": False,
        "pooled": False,
        "alternate": False,
        "anchor": 0.0,
        "prune": 0.0,
        "num_minibatches": 1,
        "likelihood": LOGISTIC,
    }
    assert LinearBasis(2).init_scale == 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps is 0: a positive number"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: a positive number"),
        ({"temperature": -1.0}, "temperature is -1.0: a positive number"),
        ({"scale": float("nan")}, "scale is nan: a positive number"),
        ({"num_minibatches": 0}, "num_minibatches is 0: a positive number"),
        ({"anchor": -1.0}, "anchor is -1.0: 0 or more"),
        ({"prune": float("nan")}, "prune is nan: 0 or more"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SimplexSettings(**fields)
