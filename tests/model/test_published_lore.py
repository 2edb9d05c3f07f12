import numpy as np
import pytest

import lore_jax as lore
from lore_jax.model import published_lore
from lore_jax.model.published_lore import load_published

RNG = np.random.default_rng(0)
V, W = RNG.normal(size=(6, 3)).astype(np.float32), RNG.normal(size=(4, 3)).astype(np.float32)
TABLE = RNG.normal(size=(5, 6)).astype(np.float32)


def loaded(monkeypatch, tensors, **options):
    monkeypatch.setattr(published_lore, "read_torch_file", lambda path: tensors)
    return load_published("lore.pt", **options)


def test_scores_are_those_of_the_published_formula(monkeypatch):
    model, users = loaded(monkeypatch, {"W": W, "V": V})
    shares = np.exp(W) / np.exp(W).sum(axis=1, keepdims=True)
    expected = (TABLE.astype(np.float64) @ V @ shares.T / 100.0).T
    np.testing.assert_allclose(lore.score(model, users, TABLE), expected, atol=1e-6)
    np.testing.assert_allclose(model.prior.mean, shares.mean(axis=0), rtol=1e-5)
    again, kept = loaded(monkeypatch, {"W": 0.9 * shares, "V": V}, weights="shares")
    np.testing.assert_allclose(lore.score(again, kept, TABLE), expected, atol=1e-6)


def test_a_basis_alone_has_no_users(monkeypatch):
    model, users = loaded(monkeypatch, {"": V})
    assert users is None
    np.testing.assert_allclose(model.prior.mean, 1 / 3)
    model, _ = loaded(monkeypatch, {"": V[:, 0]})
    assert model.rank == 1


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        ({"A": V}, {}, "lore.pt holds 'A': V, or one tensor alone"),
        ({}, {}, "holds nothing"),
        ({"V": V[None]}, {}, r"V has shape \[1, 6, 3\]"),
        ({"V": V * np.nan}, {}, "finite numbers"),
        ({"V": V, "W": W[:, :2]}, {}, r"W has shape \[4, 2\]: finite numbers \[users, 3\]"),
        ({"V": V, "W": W}, {"weights": "shares"}, "W of user 0 is no share"),
    ],
)
def test_other_content_is_refused(monkeypatch, tensors, options, message):
    with pytest.raises(ValueError, match=message):
        loaded(monkeypatch, tensors, **options)
