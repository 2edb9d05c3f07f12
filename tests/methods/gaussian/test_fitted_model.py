"""A fit's parameters as a model: rewards and their uncertainty against NumPy."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from joint_fit import GIVEN

from lore_jax.methods.gaussian.fitted_model import fitted_model
from lore_jax.methods.gaussian.laplace_em import PopulationHyper
from lore_jax.model.basis_posterior import BasisPosterior
from lore_jax.model.model import rewards

RESPONSES, DIM, RANK, LENGTH = 12, 4, 3, 2.5
RIDGES, SIZES = (1.5, 4.0), (0.5, 0.25)
JUDGED = np.isin(np.arange(RESPONSES), [0, 3, 4, 9])

rng = np.random.default_rng(0)
TABLE = rng.normal(size=(RESPONSES, DIM)).astype(np.float32)
V = rng.normal(size=(DIM, RANK)).astype(np.float32)
EFFECTS = rng.normal(size=(RESPONSES, RANK)).astype(np.float32)
SHARE = rng.uniform(0.1, 0.9, (2, RESPONSES)).astype(np.float32)


def model_of(scale, sizes=SIZES, posterior=None):
    hyper = PopulationHyper(
        ridge_population=jnp.float32(RIDGES[0]),
        ridge_deviation=jnp.float32(RIDGES[1]),
        item_effects=jnp.array(sizes, jnp.float32),
        columns=jnp.ones(RANK - 1),
        mixture=jnp.asarray(False),
    )
    return fitted_model(
        GIVEN,
        {"basis": {"V": jnp.asarray(V)}, "item_effects": jnp.asarray(EFFECTS)},
        hyper,
        input_scale=jnp.float32(LENGTH),
        logit_scale=scale,
        posterior=posterior,
        share=jnp.asarray(SHARE),
        embeddings=TABLE,
        judged=JUDGED,
    )


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_rewards_are_text_and_effects_of_judged_responses_times_the_logit_scale(scale):
    found = rewards(model_of(scale), TABLE)
    expected = TABLE / LENGTH @ V
    of_column = np.array([0, 1, 1])
    variance = np.tile(0.5 * np.square(SIZES) / RIDGES, (RESPONSES, 1))[:, of_column]
    expected[JUDGED] += (np.array(SIZES)[of_column] * EFFECTS)[JUDGED]
    variance[JUDGED] *= SHARE.T[JUDGED][:, of_column]
    np.testing.assert_allclose(found.table, scale * expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.variance, scale**2 * variance, rtol=1e-5)


def test_what_is_not_known_of_the_basis_is_scaled_as_its_rewards_are():
    posterior = BasisPosterior(
        jnp.asarray(np.linalg.qr(rng.normal(size=(DIM, 2)))[0], jnp.float32),
        jnp.asarray(rng.normal(size=(2, 2, 2)), jnp.float32),
        jnp.asarray([0.2, 0.3], jnp.float32),
    )
    plain, scaled = (rewards(model_of(by, posterior=posterior), TABLE) for by in (1.0, 1.3))
    np.testing.assert_allclose(scaled.coordinates, 1.3 * plain.coordinates, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaled.variance, 1.3**2 * plain.variance, rtol=1e-5)


def test_without_item_effects_the_text_is_all():
    model = model_of(1.3, sizes=(0.0, 0.0))
    assert model.item_effects is None
    again = dataclasses.replace(model, temperature=2.0)
    np.testing.assert_allclose(rewards(again, TABLE).table, 1.3 / 2 * TABLE / LENGTH @ V, rtol=1e-5)
