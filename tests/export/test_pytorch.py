import sys
import warnings

import jax
import numpy as np
import pytest
from uncertain_model import RANK, TABLE, USERS, model, posterior

import lore_jax as lore
from lore_jax.export.pytorch import to_torch
from lore_jax.model.basis import MLPBasis
from lore_jax.model.posterior import Posterior


def users():
    return Posterior(*posterior(), *(np.zeros(USERS, np.int32) for _ in range(4)))


def mlp():
    basis = MLPBasis(RANK, (5, 4))
    params = basis.init(jax.random.key(0), TABLE, 1.0)["params"]
    return model().replace(basis=basis, params=params, temperature=3.0, basis_posterior=None)


def import_torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own import
        return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("make", [model, mlp], ids=["linear", "mlp"])
def test_scores_are_those_of_the_library(make):
    torch = import_torch()
    module, table = to_torch(make(), users()), torch.from_numpy(TABLE.copy())
    expected = lore.score(make(), users(), TABLE)  # item effects included
    np.testing.assert_allclose(module.scores(table).numpy(), expected, atol=1e-5)
    some = module.scores(table, torch.tensor([3, 1])).numpy()
    np.testing.assert_allclose(some, expected[[3, 1]], atol=1e-5)
    assert not list(module.parameters())
    nobody = to_torch(make()).scores(table).numpy()
    population = lore.population_posterior(make(), 1)
    np.testing.assert_allclose(nobody, lore.score(make(), population, TABLE), atol=1e-5)


def test_scores_are_differentiable_in_the_embeddings():
    torch = import_torch()
    table = torch.from_numpy(TABLE[5:6].copy()).requires_grad_()
    to_torch(model(), users()).scores(table)[2].sum().backward()
    expected = np.asarray(model().params["V"]) @ posterior()[0][2] / 2.0
    np.testing.assert_allclose(table.grad.numpy()[0], expected, atol=1e-5)


def test_without_pytorch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="to_torch needs PyTorch: pip install torch"):
        to_torch(model())
