"""A model as a PyTorch module, for trainers and servers that run it; PyTorch is optional."""

from __future__ import annotations

from typing import Any

import numpy as np

from lore_jax.export.numpy_arrays import to_numpy
from lore_jax.model.model import Model, response_keys
from lore_jax.model.posterior import Posterior


def to_torch(model: Model, posterior: Posterior | None = None) -> Any:
    """The model as an `nn.Module`, differentiable in the embeddings.

    `module(embeddings) -> rewards [responses, rank]`; `module.scores(embeddings, users=None) ->
    [users, responses]`, in logits, of the users with these numbers, of all of them, or, without a
    posterior, of one who has said nothing. Effects of responses that the fit has seen are added:
    a response is recognised by its embedding, which is looked at on the host.

    Args:
        model: a fitted model.
        posterior: of users.

    Returns:
        A module on the CPU, in float32; its arrays are buffers: they move with `.to(device)`, are
        in its `state_dict`, and are not trained.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: the basis is neither linear nor an MLP.

    Example:
        >>> module = to_torch(model, posterior)  # doctest: +SKIP
        >>> module.scores(torch.ones(4, 8)).shape  # doctest: +SKIP
        torch.Size([12, 4])
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("to_torch needs PyTorch: pip install torch") from None

    arrays = to_numpy(model, posterior)
    keys = arrays.pop("item_keys", np.zeros((0, 2), np.uint32))
    arrays.pop("user_ids", None)
    known = {tuple(key): row for row, key in enumerate(keys.tolist())}
    if "weights" not in arrays:
        arrays["weights"] = arrays["mean_weights"][None]

    class Rewards(torch.nn.Module):
        """Rewards of embedded responses."""

        def __init__(self) -> None:
            super().__init__()
            for name, array in arrays.items():
                self.register_buffer(name, torch.from_numpy(array.copy()))

        def forward(self, embeddings: Any) -> Any:
            """Rewards `[responses, rank]`."""
            held = dict(self.named_buffers())
            hidden, number = embeddings.to(held["V"].dtype), 0
            while f"kernel_{number}" in held:
                inner = hidden @ held[f"kernel_{number}"] + held[f"bias_{number}"]
                hidden = torch.nn.functional.gelu(inner, approximate="tanh")
                number += 1
            rewards = hidden @ held["V"]
            if not known:
                return rewards
            on_host = embeddings.detach().to("cpu", torch.float32).numpy()
            rows = [known.get(tuple(key), -1) for key in response_keys(on_host).tolist()]
            row = torch.tensor(rows, device=rewards.device)
            effects = held["item_effects"][row.clamp(min=0)]
            return rewards + torch.where((row >= 0)[:, None], effects, 0.0)

        def scores(self, embeddings: Any, users: Any = None) -> Any:
            """Scores `[users, responses]`."""
            weights = dict(self.named_buffers())["weights"]
            return (weights if users is None else weights[users]) @ self(embeddings).T

    return Rewards()
