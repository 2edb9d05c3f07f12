"""Synthetic populations that rivals of LoRe assume, and how well a fit predicts new users there."""

from typing import NamedTuple

import jax
import numpy as np

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig


class Population(NamedTuple):
    """The pairs of seen users, and shots and test pairs of unseen ones."""

    train: Preferences
    shots: Preferences
    test: Preferences


def choices(table, rewards, rows, pairs, rng):
    """Pairs of some rows, chosen with probability `sigmoid(margin)` by each user's own rewards."""
    user = np.repeat(np.arange(len(rewards)), pairs)
    first = rng.integers(len(rows), size=len(user))
    second = (first + rng.integers(1, len(rows), size=len(user))) % len(rows)
    first, second = rows[first], rows[second]
    margin = rewards[user, first] - rewards[user, second]
    wins = rng.random(len(user)) < 1.0 / (1.0 + np.exp(-margin))
    chosen, rejected = np.where(wins, (first, second), (second, first))
    return from_arrays(table, chosen, rejected, user, num_users=len(rewards))


def population(table, rewards, *, known=False, pairs=30, shots=20, tests=30, seed=0):
    """Two thirds of the users are seen; test pairs are of other responses, or of the same ones."""
    rng = np.random.default_rng(seed)
    rows, seen = np.arange(len(table)), 2 * len(rewards) // 3
    fitted, asked = (rows, rows) if known else (rows[::2], rows[1::2])
    return Population(
        choices(table, rewards[:seen], fitted, pairs, rng),
        choices(table, rewards[seen:], fitted, shots, rng),
        choices(table, rewards[seen:], asked, tests, rng),
    )


def accuracy(predictor, pairs):
    """Of the unseen users."""
    margin = predictor.adapted(pairs.shots, pairs.test).mean
    return float(np.mean(0.5 * (1.0 + np.sign(margin))))


def fitted(method, pairs, *, holdout="new items", folds=2):
    """The predictor."""
    config = FitConfig(method, holdout=holdout, group_by="response", folds=folds, repeats=1)
    return fit_predictor(pairs.train, config, key=jax.random.key(0))[0]


def gain(method, pairs, *, holdout="new items", ridge=3.0, folds=2):
    """Points of accuracy of unseen users above ridge Bradley-Terry."""
    baseline = fitted(BradleyTerryConfig(ridge=ridge), pairs)
    personal = fitted(method, pairs, holdout=holdout, folds=folds)
    return 100.0 * (accuracy(personal, pairs) - accuracy(baseline, pairs))


def taste_along_axes(*, users=60, responses=60, dim=12, strong=3, seed=0, **sizes):
    """Users differ along the directions in which the responses vary most."""
    rng = np.random.default_rng(seed)
    spectrum = np.where(np.arange(dim) < strong, 1.0, 0.1)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    table = (rng.normal(size=(responses, dim)) * spectrum) @ rotation
    weights = rng.normal(size=(users, strong)) + 0.5
    rewards = 1.5 * weights @ rotation[:strong] @ table.T
    return population(table.astype(np.float32), rewards, seed=seed, **sizes)


def mixed_rewards(*, users=90, responses=60, dim=8, seed=0, **sizes):
    """Each user has one of two rewards, nearly opposite."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(responses, dim)) / np.sqrt(dim)
    common, other = 2.0 * rng.normal(size=(2, dim))
    sides = np.where(np.arange(users) % 2, 1.0, -1.0)
    rewards = (0.5 * common + 2.0 * sides[:, None] * other) @ table.T
    return population(table.astype(np.float32), rewards, seed=seed, **sizes)
