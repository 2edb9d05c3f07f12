"""What the published LoRe code saves, as a `Model` and its users."""

from __future__ import annotations

import os
from typing import Literal

import jax.numpy as jnp
import numpy as np

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.model.prior import SimplexPrior
from lore_jax.storage.torch_file import read_torch_file

_TEMPERATURE = 100.0  # a constant of the published code


def load_published(
    path: str | os.PathLike[str], *, weights: Literal["logits", "shares"] = "logits"
) -> tuple[Model, Posterior | None]:
    """Reads a checkpoint of the published LoRe code: V alone, or V and W of its `state_dict`.

    `r_u(e) = e V softmax(W_u) / 100`. The file is read without running anything in it
    (`storage/torch_file.py`).

    Args:
        path: a file of `torch.save`: a tensor V `[dim, rank]`, or a dictionary with V and,
            optionally, W `[users, rank]`.
        weights: what W holds: logits, as the published modules do, or the shares that their `train`
            returns, which are brought to sum to one (where columns were dropped they do not).

    Returns:
        The model, for raw embeddings, and its users, or None without W. Without users, a user who
        has said nothing weighs all columns alike.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or its V and W are not what they should be.

    Example:
        >>> model, users = load_published("lore.pt")  # doctest: +SKIP

    Reference:
        Bose et al. 2025, arXiv 2504.14439; its code, the classes LoRe and LoRe_regularized.
    """
    tensors = read_torch_file(path)
    basis = tensors.get("V", tensors.get(""))
    if basis is None:
        found = ", ".join(map(repr, tensors)) or "nothing"
        raise ValueError(f"{path} holds {found}: V, or one tensor alone, is expected")
    basis = basis.astype(np.float32)
    if basis.ndim == 1:
        basis = basis[:, None]
    if basis.ndim != 2 or not basis.size or not np.isfinite(basis).all():
        shape = list(basis.shape)
        raise ValueError(f"{path}: V has shape {shape}: finite numbers [dim, rank] are expected")
    rank, shares = basis.shape[1], None
    if "W" in tensors:
        shares = _shares(path, tensors["W"].astype(np.float64), rank, weights)
    mean = np.full(rank, 1.0 / rank) if shares is None else shares.mean(axis=0)
    model = Model(
        LinearBasis(rank),
        {"V": jnp.asarray(basis)},
        jnp.ones(()),
        SimplexPrior(jnp.asarray(mean, jnp.float32)),
        temperature=_TEMPERATURE,
    )
    if shares is None:
        return model, None
    users = len(shares)
    return model, Posterior(
        weights=shares.astype(np.float32),
        covariance=np.zeros((users, rank, rank), np.float32),
        shots=np.zeros(users, np.int32),  # not saved
        converged=np.ones(users, bool),
        steps=np.zeros(users, np.int32),
        grad_norm=np.zeros(users, np.float32),
    )


def _shares(
    path: str | os.PathLike[str], own: np.ndarray, rank: int, kind: Literal["logits", "shares"]
) -> np.ndarray:
    """The users' weights on the simplex."""
    if own.ndim != 2 or own.shape[1] != rank or not len(own) or not np.isfinite(own).all():
        expected = f"finite numbers [users, {rank}] are expected"
        raise ValueError(f"{path}: W has shape {list(own.shape)}: {expected}")
    if kind == "logits":
        own = np.exp(own - own.max(axis=1, keepdims=True))
    elif (own < 0.0).any() or (own.sum(axis=1) <= 0.0).any():
        user = int(np.flatnonzero((own < 0.0).any(axis=1) | (own.sum(axis=1) <= 0.0))[0])
        raise ValueError(f"{path}: W of user {user} is no share: 0 or more is expected")
    return own / own.sum(axis=1, keepdims=True)
