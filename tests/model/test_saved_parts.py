import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model.basis import LinearBasis
from lore_jax.model.prior import GaussianPrior, MixturePrior
from lore_jax.model.saved_parts import arrays_of, describe, rebuild, storable
from lore_jax.solvers.mixture import one_component


def test_a_part_with_a_part_within_is_made_anew():
    prior = MixturePrior(jnp.arange(3.0), jnp.ones((3, 2)), one_component(2))
    described, arrays = describe("prior", prior), arrays_of(prior)
    assert described == {"name": "MixturePrior", "mixture": {"name": "Mixture"}}
    assert arrays.keys() == {"mean", "factor", "mixture"}
    again = rebuild("prior", described, arrays)
    assert type(again) is MixturePrior
    np.testing.assert_array_equal(again.mean, prior.mean)
    np.testing.assert_array_equal(again.mixture.spread, prior.mixture.spread)


def test_fields_without_arrays_are_kept():
    assert rebuild("basis", describe("basis", LinearBasis(5)), {}) == LinearBasis(5)


@pytest.mark.parametrize(
    ("described", "arrays", "message"),
    [
        ({"name": "Nobody"}, {}, "prior: a Nobody was saved: "),
        ({}, {}, "prior: a None was saved: "),
        ({"name": "GaussianPrior"}, {"mean": np.ones(2)}, "prior.factor is missing"),
        (
            {"name": "GaussianPrior", "colour": 1},
            {"mean": np.ones(2), "factor": np.ones((2, 1))},
            "prior.colour is missing, or no field of GaussianPrior",
        ),
    ],
)
def test_what_is_no_part_is_refused(described, arrays, message):
    with pytest.raises(ValueError, match=message):
        rebuild("prior", described, arrays)


def test_only_what_is_storable_is_described():
    class Own(GaussianPrior):
        pass

    own = Own(jnp.ones(2), jnp.ones((2, 1)))
    with pytest.raises(ValueError, match="prior is a Own: only "):
        describe("prior", own)
    assert describe("prior", storable(Own)(jnp.ones(2), jnp.ones((2, 1))))["name"] == "Own"
