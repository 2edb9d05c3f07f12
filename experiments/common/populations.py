"""Simulated populations of which it is known whether users differ, and how much.

A prompt has two responses and a topic, t = -1 or 1. A response has features x ~ N(t m, I), and what
nobody can read off it, a quality h ~ N(0, q^2) that is the same for everybody. Users answer
`P(a over b) = sigmoid(w_u . (z_a - z_b) + h_a - h_b)`. What z is, and what a method sees of it:

- *alike*, *differ*: z = x, and a method sees x. `w_u = w + s B g_u`, `g_u ~ N(0, I)` of rank 2; s
  is 0 where users are alike.
- *topics*, *mixes*: everybody agrees, on `z = (x, t x)`: what is liked depends on the topic. A
  method sees (x, t), of which this is no linear function. In *topics* each user is asked about one
  topic; in *mixes* each has a share of their own of both, and half of the users give half of the
  shots.
- *offsets*: everybody agrees on `z = (x, t x)`, a method sees all of z, and each user is asked
  about one topic: the text tells what is needed, but not to a model that shrinks it away.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

import lore_jax as lore
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior

Kind = Literal["alike", "differ", "topics", "mixes", "offsets"]
DIM = 12  # of what a method sees: more than the ranks that validation chooses between
_RANK = 2  # of how users differ


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of everything; the same for all kinds, so that compiled programs are shared.

    Attributes:
        seen: users of the fit.
        prompts: half of them are known in each split, half new.
        pairs: training pairs of a seen user.
        shots: of an unseen user.
        tests: test pairs of an unseen user.
        fresh: users to find the truth with, and as many prompts of theirs.
        margin: standard deviation of what users share, in logits.
        quality: standard deviation of h, in logits.
    """

    seen: int = 100
    prompts: int = 200
    pairs: int = 20
    shots: int = 20
    tests: int = 20
    fresh: int = 2000
    margin: float = 1.2
    quality: float = 0.3


class Items(NamedTuple):
    """Prompts with two responses each: those of prompt p are in rows 2 p and 2 p + 1.

    Attributes:
        embeddings: what a method sees.
        features: z.
        quality: h.
        topic: of each prompt, 0 or 1.
    """

    embeddings: Float[np.ndarray, "responses dim"]
    features: Float[np.ndarray, "responses features"]
    quality: Float[np.ndarray, " responses"]
    topic: Int[np.ndarray, " prompts"]


class Tastes(NamedTuple):
    """What users like: `w`, and the columns along which they differ, `s B`."""

    shared: Float[np.ndarray, " features"]
    differences: Float[np.ndarray, "features rank"]


class Asked(NamedTuple):
    """Users, and what they answered.

    Attributes:
        weights: w_u.
        share: of each user's prompts that are of topic 1.
        prefs: the pairs, each user's on different prompts.
        probability: of each recorded choice.
    """

    weights: Float[np.ndarray, "users features"]
    share: Float[np.ndarray, " users"]
    prefs: Preferences
    probability: Float[np.ndarray, " pairs"]


def draw_tastes(sizes: Sizes, kind: Kind, spread: float, rng: np.random.Generator) -> Tastes:
    """Directions of random orientation, sized as margins."""
    width = _width(kind)

    def direction(count: int) -> np.ndarray:
        drawn = rng.normal(size=(width, count))
        return drawn * (sizes.margin / np.sqrt(2.0) / np.linalg.norm(drawn, axis=0))

    shared = direction(1)[:, 0]
    if kind in ("alike", "differ"):
        return Tastes(shared, direction(_RANK) * (spread if kind == "differ" else 0.0))
    offset = direction(1)[:, 0]
    return Tastes(np.concatenate([shared, offset]), np.zeros((2 * width, 1)))


def draw_items(sizes: Sizes, kind: Kind, prompts: int, rng: np.random.Generator) -> Items:
    """Prompts and their responses."""
    topic = np.arange(prompts) % 2
    sign = np.repeat(2.0 * topic - 1.0, 2)[:, None]
    x = rng.normal(size=(2 * prompts, _width(kind)))
    x[:, :1] += sign
    quality = sizes.quality * rng.normal(size=2 * prompts)
    seen = {"topics": np.hstack([x, sign]), "mixes": np.hstack([x, sign])}
    seen["offsets"] = both = np.hstack([x, sign * x])
    features = x if kind in ("alike", "differ") else both
    return Items(seen.get(kind, x).astype(np.float32), features, quality, topic)


def _width(kind: Kind) -> int:
    """The length of x, so that a method sees `DIM` numbers."""
    return {"topics": DIM - 1, "mixes": DIM - 1, "offsets": DIM // 2}.get(kind, DIM)


def draw_users(
    kind: Kind, tastes: Tastes, users: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "users features"], Float[np.ndarray, " users"]]:
    """Weights, and shares of topic 1."""
    g = rng.normal(size=(users, tastes.differences.shape[1]))
    if kind == "mixes":
        share = rng.beta(0.5, 0.5, size=users)
    elif kind in ("topics", "offsets"):
        share = (np.arange(users) % 2).astype(float)
    else:
        share = np.full(users, 0.5)
    return tastes.shared + g @ tastes.differences.T, share


def ask(
    items: Items,
    weights: Float[np.ndarray, "users features"],
    share: Float[np.ndarray, " users"],
    prompts: Int[np.ndarray, " prompts"],
    each: int,
    rng: np.random.Generator,
) -> Asked:
    """Answers of every user on `each` of some prompts, by their shares of the topics."""
    users = len(weights)
    # Weighted draws without replacement: the smallest of exponential times (Efraimidis, Spirakis).
    chance = np.where(items.topic[prompts] == 1, share[:, None], 1.0 - share[:, None])
    times = rng.exponential(size=chance.shape) / np.maximum(chance, 1e-12)
    prompt = prompts[np.argsort(times, axis=1)[:, :each]].ravel()
    user = np.repeat(np.arange(users), each)
    first, second = 2 * prompt, 2 * prompt + 1
    margin = np.einsum("pk,pk->p", weights[user], items.features[first] - items.features[second])
    margin += items.quality[first] - items.quality[second]
    probability = 1.0 / (1.0 + np.exp(-margin))
    wins = rng.random(len(margin)) < probability
    chosen, rejected = np.where(wins, first, second), np.where(wins, second, first)
    prefs = from_arrays(
        items.embeddings, chosen, rejected, user, prompt=prompt, user_ids=np.arange(users)
    )
    return Asked(weights, share, prefs, np.where(wins, probability, 1.0 - probability))


def expected_right(
    mean: Float[np.ndarray, " pairs"], probability: Float[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    """Expected accuracy of a margin's sign, the noise of the recorded choice left out."""
    return np.where(mean > 0, probability, 1.0 - probability)


def oracle(tastes: Tastes) -> Model:
    """A model that knows what users share and how they differ."""
    basis = np.column_stack([tastes.shared, tastes.differences]).astype(np.float32)
    rank = basis.shape[1]
    prior = GaussianPrior(jnp.eye(rank)[0], jnp.eye(rank)[:, 1:])
    return Model(LinearBasis(rank), {"V": jnp.asarray(basis)}, jnp.ones(()), prior)


def gain_of(model: Model, shots: Preferences, test: Asked) -> float:
    """What shots gain in expected accuracy over none, on users and prompts of `test`."""
    personal = lore.margins(model, lore.adapt(model, shots), test.prefs).mean
    nobody = lore.adapt(model, lore.draw_shots(shots, 0, seed=0))
    population = lore.margins(model, nobody, test.prefs).mean
    right, before = (expected_right(mean, test.probability) for mean in (personal, population))
    return float((right - before).mean())


def find_spread(sizes: Sizes, gain: float, *, seed: int) -> float:
    """The spread of users at which shots gain `gain` for the oracle, by bisection."""
    low, high = 0.0, 2.0
    users, half = sizes.fresh // 2, sizes.prompts
    for _ in range(8):
        middle = 0.5 * (low + high)
        rng = np.random.default_rng(seed)
        measured = []
        for _ in range(8):  # different tastes: the gain is that of the average population
            tastes = draw_tastes(sizes, "differ", middle, rng)
            items = draw_items(sizes, "differ", 2 * half, rng)
            weights, share = draw_users("differ", tastes, users, rng)
            known, new = np.arange(half), np.arange(half, 2 * half)
            shots = ask(items, weights, share, known, sizes.shots, rng).prefs
            test = ask(items, weights, share, new, sizes.tests, rng)
            measured.append(gain_of(oracle(tastes), shots, test))
        low, high = (middle, high) if np.mean(measured) < gain else (low, middle)
    return 0.5 * (low + high)
