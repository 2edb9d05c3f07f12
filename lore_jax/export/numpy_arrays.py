"""A model as plain arrays whose product gives the rewards, for software without JAX."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from lore_jax.model.basis import LinearBasis, MLPBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior


def to_numpy(
    model: Model, posterior: Posterior | None = None
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of a model and of its users; scale and temperature are in them.

    `rewards = layers(e) @ V + effects`, `scores = rewards @ weights.T`, with `layers(e)` the
    embeddings themselves for a linear basis, and for one with hidden layers `h = gelu(h @ kernel_i
    + bias_i)`, gelu by its tanh formula, for i = 0, 1, ...

    Args:
        model: a fitted model.
        posterior: of users, for `weights [users, rank]` and, if they have names, `user_ids`.

    Returns:
        Arrays by name, float32: `V [dim or width, rank]`; `kernel_i`, `bias_i`; `mean_weights
        [rank]`, of a user who has said nothing; `weights`, `user_ids`; and where responses have
        effects of their own, `item_keys`, uint32 `[n, 2]`, and `item_effects [n, rank]`: a
        response's key is the 8-byte BLAKE2b digest of its embedding in float32
        (`hashlib.blake2b(row.tobytes(), digest_size=8)`), two little-endian numbers. Only arrays:
        `np.savez` stores them.

    Raises:
        ValueError: the basis is neither linear nor an MLP.

    Example:
        >>> arrays = to_numpy(model, posterior)
        >>> (np.asarray(prefs.embeddings) @ arrays["V"] @ arrays["weights"].T).shape
        (150, 12)
    """
    arrays: dict[str, np.ndarray] = {}
    params, scale = model.params, float(model.input_scale)
    last = np.asarray(params["V"], np.float64) / model.temperature
    if isinstance(model.basis, LinearBasis):
        last = last / scale
    elif isinstance(model.basis, MLPBasis):
        for number in range(len(model.basis.hidden)):
            layer = params[f"Dense_{number}"]
            kernel = np.asarray(layer["kernel"], np.float64)
            if number == 0:
                kernel = kernel * (kernel.shape[0] ** 0.5 / scale)
            arrays[f"kernel_{number}"] = kernel
            arrays[f"bias_{number}"] = np.asarray(layer["bias"])
    else:
        name = type(model.basis).__name__
        raise ValueError(f"the basis is a {name}: LinearBasis or MLPBasis is expected")
    arrays |= {"V": last, "mean_weights": np.asarray(model.prior.mean)}
    if posterior is not None:
        arrays["weights"] = np.asarray(posterior.weights)
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    if posterior is not None and posterior.user_ids is not None:
        arrays["user_ids"] = np.asarray(posterior.user_ids).astype(str)
    if (effects := model.item_effects) is not None:
        arrays["item_keys"] = np.asarray(effects.keys)
        arrays["item_effects"] = np.asarray(effects.values, np.float32)
    return arrays


def rewards_of_arrays(
    arrays: dict[str, Shaped[np.ndarray, "..."]],
    embeddings: Float[np.ndarray, "responses dim"],
) -> Float[np.ndarray, "responses rank"]:
    """What `to_numpy` says in its formula, without the effects of responses.

    Args:
        arrays: by `to_numpy`.
        embeddings: `[responses, dim]`.

    Returns:
        Rewards `[responses, rank]`.

    Example:
        >>> rewards_of_arrays(to_numpy(model), np.asarray(prefs.embeddings)).shape
        (150, 3)
    """
    hidden, number = embeddings.astype(np.float32), 0
    while f"kernel_{number}" in arrays:
        inner = hidden @ arrays[f"kernel_{number}"] + arrays[f"bias_{number}"]
        cubic = np.float32((2.0 / np.pi) ** 0.5) * (inner + np.float32(0.044715) * inner**3)
        hidden, number = np.float32(0.5) * inner * (1.0 + np.tanh(cubic)), number + 1
    return hidden @ arrays["V"]
