"""What lore_jax is timed against, in PyTorch: the published steps, and a vectorised version.

Written from the mathematics.

The published joint fit takes the users in a Python loop: `x_u @ (V softmax(W)')_u / 100` for the
differences x_u of the user's pairs, the mean of -log(sigmoid(.)), summed over users; one Adam on V
and W. New users are fitted in the same way with V frozen. The vectorised step has the same loss and
the same Adam, and a table of responses instead of differences.

The population model has no published code. What stands here for it is its joint mode, as one would
write it in PyTorch: column 0 with weight 1 for everybody, N(0, I) deviations along the others, item
effects, ridges, one Adam on all of them over the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

TEMPERATURE = 100.0
RIDGE = 3.0  # its size changes no time
Step = Callable[[], float]
Tensor: TypeAlias = "torch.Tensor"


def _adam_step(optimiser: torch.optim.Optimizer, loss_of: Callable[[], Tensor]) -> Step:
    def step() -> float:
        optimiser.zero_grad()
        loss = loss_of()
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def _differences(
    table: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, user: np.ndarray
) -> list[Tensor]:
    cuts = np.flatnonzero(np.diff(user)) + 1
    pairs = zip(np.split(chosen, cuts), np.split(rejected, cuts), strict=True)
    return [torch.from_numpy(np.asarray(table[c] - table[r], np.float32)) for c, r in pairs]


def published_fit(
    table: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, user: np.ndarray, rank: int
) -> Step:
    """One step of the published joint fit; every user has pairs, sorted by user."""
    differences = _differences(table, chosen, rejected, user)
    directions = torch.randn(table.shape[1], rank, requires_grad=True)
    logits = torch.randn(len(differences), rank, requires_grad=True)

    def loss() -> Tensor:
        directions_of_users = directions @ torch.softmax(logits, dim=1).T
        total = torch.zeros(())
        for number, x in enumerate(differences):
            total = (
                total
                - torch.log(torch.sigmoid(x @ directions_of_users[:, number] / TEMPERATURE)).mean()
            )
        return total

    return _adam_step(torch.optim.Adam([directions, logits], lr=0.5), loss)


def vectorised_fit(
    table: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, user: np.ndarray, rank: int
) -> Step:
    """One step of the same fit over a table, all users at once."""
    embeddings = torch.from_numpy(table)
    rows = [torch.from_numpy(np.asarray(index, np.int64)) for index in (chosen, rejected, user)]
    count = torch.bincount(rows[2])
    directions = torch.randn(table.shape[1], rank, requires_grad=True)
    logits = torch.randn(len(count), rank, requires_grad=True)

    def loss() -> Tensor:
        rewards = embeddings @ directions
        weights = torch.softmax(logits, dim=1)[rows[2]]
        margin = ((rewards[rows[0]] - rewards[rows[1]]) * weights).sum(1) / TEMPERATURE
        return (torch.nn.functional.softplus(-margin) / count[rows[2]]).sum()

    return _adam_step(torch.optim.Adam([directions, logits], lr=0.5), loss)


def vectorised_population(
    table: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, user: np.ndarray, rank: int
) -> Step:
    """One step to the joint mode of basis, item effects and deviations, all users at once."""
    embeddings = torch.from_numpy(table) / float(np.sqrt(np.mean(np.sum(table**2, axis=1))))
    rows = [torch.from_numpy(np.asarray(index, np.int64)) for index in (chosen, rejected, user)]
    directions = torch.randn(table.shape[1], rank, requires_grad=True)
    effects = torch.zeros(len(table), rank, requires_grad=True)
    deviations = torch.zeros(int(user.max()) + 1, rank - 1, requires_grad=True)

    def loss() -> Tensor:
        rewards = embeddings @ directions + effects
        along = rewards[rows[0]] - rewards[rows[1]]
        margin = along[:, 0] + (along[:, 1:] * deviations[rows[2]]).sum(1)
        prior = 0.5 * (deviations**2).sum()
        ridges = RIDGE * ((directions**2).sum() + (effects**2).sum())
        return (torch.nn.functional.softplus(-margin).sum() + prior + ridges) / len(user)

    return _adam_step(torch.optim.Adam([directions, effects, deviations], lr=0.05), loss)


def published_adapt(
    table: np.ndarray,
    chosen: np.ndarray,
    rejected: np.ndarray,
    user: np.ndarray,
    directions: np.ndarray,
) -> Step:
    """One step of the published fit of new users, V frozen."""
    differences = _differences(table, chosen, rejected, user)
    frozen = torch.from_numpy(np.asarray(directions, np.float32))
    logits = [torch.randn(directions.shape[1], requires_grad=True) for _ in differences]

    def loss() -> Tensor:
        total = torch.zeros(())
        for x, user_logits in zip(differences, logits, strict=True):
            margin = x @ (frozen @ torch.softmax(user_logits, dim=0)) / TEMPERATURE
            total = total - torch.log(torch.sigmoid(margin)).mean()
        return total

    return _adam_step(torch.optim.Adam(logits, lr=0.1), loss)
