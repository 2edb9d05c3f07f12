"""Models: rewards of a table, responses recognised by their embeddings, and one line for people."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.model.basis import LinearBasis, MLPBasis
from lore_jax.model.model import (
    Model,
    apply_basis,
    bradley_terry_model,
    reference_head,
    response_keys,
    rewards,
    rms_row_norm,
)
from lore_jax.model.prior import GaussianPrior, ItemEffects, SimplexPrior
from lore_jax.solvers.likelihood import LOGISTIC

DIM, RANK = 6, 3
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((9, DIM)).astype(np.float32)
V = RNG.standard_normal((DIM, RANK)).astype(np.float32)
MODEL = Model(
    LinearBasis(RANK),
    {"V": jnp.asarray(V)},
    jnp.asarray(2.0),
    GaussianPrior(jnp.ones(RANK), jnp.eye(RANK)),
    temperature=4.0,
)
EXPECTED = TABLE.astype(np.float64) @ V / 2.0 / 4.0


def with_effects(known, values, variance):
    effects = ItemEffects(
        response_keys(TABLE[known]),
        jnp.asarray(values),
        jnp.asarray(variance, jnp.float32),
        jnp.zeros((len(values), 2)),
    )
    return MODEL.replace(item_effects=effects)


def test_it_is_one_line_of_sizes():
    assert repr(MODEL) == "Model(LinearBasis, dim 6, rank 3, GaussianPrior)"
    effects = with_effects(np.arange(4), np.zeros((4, RANK), np.float32), np.ones(RANK))
    assert repr(effects) == "Model(LinearBasis, dim 6, rank 3, GaussianPrior, 4 item effects)"
    basis = MLPBasis(RANK, (8,))
    params = basis.init(jax.random.key(0), jnp.ones((1, DIM)), 1.0)["params"]
    model = MODEL.replace(basis=basis, params=params, prior=SimplexPrior(jnp.ones(RANK) / RANK))
    assert repr(model) == "Model(MLPBasis, dim 6, rank 3, SimplexPrior)"


def test_it_is_a_pytree_whose_numbers_can_be_traced():
    leaves = jax.tree.leaves(MODEL)
    assert len(leaves) == 4  # V, input scale, mean, factor; the likelihood has no numbers
    doubled = jax.jit(lambda model: model.replace(input_scale=2.0 * model.input_scale))(MODEL)
    assert (doubled.temperature, doubled.likelihood, doubled.rank) == (4.0, LOGISTIC, RANK)
    np.testing.assert_allclose(rewards(doubled, TABLE).table, EXPECTED / 2, atol=1e-5)


def test_rewards_against_numpy():
    found = rewards(MODEL, TABLE)
    np.testing.assert_allclose(found.table, EXPECTED, atol=1e-5)
    np.testing.assert_array_equal(found.variance, 0.0)
    np.testing.assert_array_equal(found.table, apply_basis(MODEL, jnp.asarray(TABLE)))


def test_item_effects_go_with_the_embedding_wherever_it_stands():
    known, variance = np.array([5, 1, 8]), np.array([0.5, 0.0, 2.0])
    values = RNG.standard_normal((3, RANK)).astype(np.float32)
    model = with_effects(known, values, variance)
    order = RNG.permutation(9)
    found = rewards(model, TABLE[order])
    expected, unknown = EXPECTED.copy(), np.tile(variance, (9, 1))
    expected[known] += values
    unknown[known] = 0.0
    np.testing.assert_allclose(found.table, expected[order], atol=1e-5)
    np.testing.assert_allclose(found.variance, unknown[order])


def test_another_width_is_refused_in_one_line():
    with pytest.raises(ValueError, match="embeddings have dim 4, the model was fitted on dim 6"):
        rewards(MODEL, TABLE[:, :4])


def test_keys_are_of_the_numbers_and_not_of_their_type():
    half = TABLE.astype(np.float16)
    keys = response_keys(half)
    assert (keys.shape, keys.dtype) == ((9, 2), np.uint32)
    np.testing.assert_array_equal(keys, response_keys(half.astype(np.float32)))
    assert len(np.unique(keys.view(np.uint64))) == 9
    assert (response_keys(TABLE) != keys).any()
    assert response_keys(TABLE[:0]).shape == (0, 2)


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_a_table_read_in_parts_is_the_same(rows, monkeypatch):
    whole = response_keys(TABLE), rms_row_norm(TABLE)
    monkeypatch.setattr("lore_jax.model.model._ROWS_AT_A_TIME", rows)
    np.testing.assert_array_equal(response_keys(TABLE), whole[0])
    assert rms_row_norm(TABLE) == pytest.approx(whole[1], rel=1e-9)


def test_the_root_mean_square_of_rows():
    expected = np.sqrt(np.mean(np.sum(TABLE.astype(np.float64) ** 2, axis=1)))
    assert rms_row_norm(TABLE) == pytest.approx(expected)
    assert rms_row_norm(np.zeros((3, 2))) == 1.0


def test_one_direction_for_everybody():
    model = reference_head(V[:, 0])
    assert (model.rank, model.temperature, float(model.input_scale)) == (1, 1.0, 1.0)
    np.testing.assert_allclose(rewards(model, TABLE).table[:, 0], TABLE @ V[:, 0], atol=1e-5)
    model = bradley_terry_model(LinearBasis(1), {"V": jnp.asarray(V[:, :1])}, 2.0)
    np.testing.assert_allclose(rewards(model, TABLE).table[:, 0], TABLE @ V[:, 0] / 2, atol=1e-5)
    np.testing.assert_array_equal(model.prior.mean, 1.0)
    np.testing.assert_array_equal(model.prior.covariance, 0.0)
