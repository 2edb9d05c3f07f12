"""Synthetic populations, each made by what some method assumes of people.

- *simplex*: users' weights are Dirichlet on a few columns, most on one (LoRe).
- *gaussian*: weights are Gaussian around a population (the population model).
- *mixture*: users fall into four groups and differ little within them (clusters of users).
- *ideal points*: `r_u(e) = -|x - a_u|^2`, users like what is near their own point (PAL). x are
  three coordinates of e that have half of its variance.
- *non-linear*: `r_u(e) = w_u . h(x)`, h a random network with a hidden layer that everybody shares,
  w_u Gaussian around a population.
- *alike*: everybody has the same linear reward; whoever finds a difference finds noise.

Prompts have three responses, so that some twenty users judge each pair. Margins have a root mean
square of 2.5 logits in all of them.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic

Population = Literal["simplex", "gaussian", "mixture", "ideal points", "non-linear", "alike"]
POPULATIONS: tuple[Population, ...] = get_args(Population)

_REPLIES = 3
_NOISE = 0.4  # margins have a root mean square of 1 / noise logits
_PLACES = 3  # coordinates of a response that matter where rewards are not linear
_HIDDEN, _OUTPUTS = 24, 4  # widths of the network that people share


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        users: seen and unseen.
        prompts: with three responses each.
        pairs: of each user.
        dim: of the embeddings.
    """

    users: int = 300
    prompts: int = 200
    pairs: int = 40
    dim: int = 32


SMOKE_SIZES = Sizes(users=30, prompts=24, pairs=16, dim=8)


def draw_population(kind: Population, sizes: Sizes, *, seed: int) -> Preferences:
    """People who compare responses as some method assumes.

    Args:
        kind: what they are like.
        sizes: how many they are.
        seed: seed of everything.

    Returns:
        Their pairs; with a reference head where rewards are linear.
    """
    config = SyntheticConfig(
        num_users=sizes.users,
        num_prompts=sizes.prompts,
        responses_per_prompt=_REPLIES,
        pairs_per_user=(sizes.pairs, sizes.pairs),
        dim=sizes.dim,
        noise=_NOISE,
        exponent=0.5,
    )
    linear = {
        "simplex": dataclasses.replace(config, users="simplex", rank=5, alpha=0.1),
        "gaussian": dataclasses.replace(config, rank=3, spread=1.0),
        "mixture": dataclasses.replace(
            config, users="mixture", rank=4, num_components=4, spread=0.2
        ),
        "alike": dataclasses.replace(config, rank=1, spread=0.0),
    }
    if kind in linear:
        return synthetic(linear[kind], seed=seed).prefs
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(sizes.prompts * _REPLIES, _PLACES))
    rewards = {"ideal points": _ideal_points, "non-linear": _non_linear}[kind]
    table = _embedded(places, sizes.dim, rng)
    return _answers(table, rewards(places, sizes.users, rng), sizes, rng)


def _embedded(
    places: Float[np.ndarray, "responses places"], dim: int, rng: np.random.Generator
) -> Float[np.ndarray, "responses dim"]:
    """Rows of norm 1 or so: half of their variance is the places, the rest is of no matter."""
    rest = dim - _PLACES
    noise = rng.normal(size=(len(places), rest)) * np.sqrt(_PLACES / rest)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return (np.hstack([places, noise]) @ rotation / np.sqrt(2 * _PLACES)).astype(np.float32)


def _ideal_points(
    places: Float[np.ndarray, "responses places"], users: int, rng: np.random.Generator
) -> Float[np.ndarray, "users responses"]:
    """How far responses are from each user's point."""
    points = rng.normal(size=(users, _PLACES))
    return -((places[None] - points[:, None]) ** 2).sum(axis=2)


def _non_linear(
    places: Float[np.ndarray, "responses places"], users: int, rng: np.random.Generator
) -> Float[np.ndarray, "users responses"]:
    """Weights on the outputs of a random network; half of what moves a user is personal."""
    hidden = np.tanh(places @ rng.normal(size=(_PLACES, _HIDDEN)) + rng.normal(size=_HIDDEN))
    outputs = hidden @ rng.normal(size=(_HIDDEN, _OUTPUTS))
    outputs -= outputs.mean(axis=0)
    weights = rng.normal(size=_OUTPUTS) + rng.normal(size=(users, _OUTPUTS))
    return weights @ (outputs / outputs.std(axis=0)).T


def _answers(
    table: Float[np.ndarray, "responses dim"],
    rewards: Float[np.ndarray, "users responses"],
    sizes: Sizes,
    rng: np.random.Generator,
) -> Preferences:
    """Logistic answers about two replies to a random prompt, margins scaled to their size."""
    user = np.repeat(np.arange(sizes.users), sizes.pairs)
    prompt = rng.integers(sizes.prompts, size=len(user))
    first = rng.integers(_REPLIES, size=len(user))
    second = (first + rng.integers(1, _REPLIES, size=len(user))) % _REPLIES
    a, b = prompt * _REPLIES + first, prompt * _REPLIES + second
    margin = rewards[user, a] - rewards[user, b]
    margin /= _NOISE * np.sqrt(np.mean(margin**2))
    wins = rng.random(len(user)) < 1.0 / (1.0 + np.exp(-margin))
    chosen, rejected = np.where(wins, a, b), np.where(wins, b, a)
    return from_arrays(
        table, chosen, rejected, user, prompt=prompt, user_ids=np.arange(sizes.users)
    )
