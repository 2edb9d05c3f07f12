import hashlib

import jax
import numpy as np
import pytest
from uncertain_model import DIM, RANK, TABLE, USERS, model, posterior

import lore_jax as lore
from lore_jax.export.numpy_arrays import rewards_of_arrays, to_numpy
from lore_jax.model.basis import MLPBasis
from lore_jax.model.model import rewards
from lore_jax.model.posterior import Posterior


def users():
    weights, covariance = posterior()
    names = np.array([f"user {number}" for number in range(USERS)])
    return Posterior(
        weights, covariance, *(np.zeros(USERS, np.int32) for _ in range(4)), user_ids=names
    )


def mlp():
    basis = MLPBasis(RANK, (5, 4))
    params = basis.init(jax.random.key(0), TABLE, 1.0)["params"]
    return model().replace(basis=basis, params=params, temperature=3.0, basis_posterior=None)


def with_effects(arrays, table):
    """Rewards with the effects of responses, as the docstring says that they are found."""
    result = rewards_of_arrays(arrays, table)
    known = {tuple(key): row for row, key in enumerate(arrays["item_keys"].tolist())}
    for number, row in enumerate(table):
        digest = hashlib.blake2b(row.astype("<f4").tobytes(), digest_size=8).digest()
        at = known.get(tuple(np.frombuffer(digest, "<u4").tolist()))
        if at is not None:
            result[number] += arrays["item_effects"][at]
    return result


@pytest.mark.parametrize("make", [model, mlp], ids=["linear", "mlp"])
def test_the_product_is_the_rewards(make):
    arrays = to_numpy(make(), users())
    table = with_effects(arrays, TABLE)
    np.testing.assert_allclose(table, rewards(make(), TABLE).table, atol=1e-5)
    scores = table @ arrays["weights"].T
    np.testing.assert_allclose(scores.T, lore.score(make(), users(), TABLE), atol=1e-5)


def test_arrays_are_plain_and_survive_savez(tmp_path):
    arrays = to_numpy(model(), users())
    np.savez(tmp_path / "model.npz", **arrays)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as kept:
        for name, array in arrays.items():
            np.testing.assert_array_equal(kept[name], array)
    assert arrays["V"].shape == (DIM, RANK)
    assert arrays["user_ids"].tolist()[1] == "user 1"
    assert "weights" not in to_numpy(model())


def test_the_exported_program_agrees(tmp_path):
    new = model().replace(item_effects=None)  # programs do not look responses up
    path = lore.export_score(tmp_path / "score.stablehlo", new, platforms=("cpu",))
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    arrays = to_numpy(new, users())
    scores = rewards_of_arrays(arrays, TABLE) @ arrays["weights"].T
    np.testing.assert_allclose(program.call(TABLE, posterior()[0]), scores.T, atol=1e-5)


def test_another_basis_is_refused():
    class Other:
        pass

    with pytest.raises(ValueError, match="the basis is a Other: LinearBasis or MLPBasis"):
        to_numpy(model().replace(basis=Other()))
