"""Do 95 % intervals of a gain hold for new users and new items? Simulated, with a ridge fit.

    python -m experiments.interval_coverage --out RUN

Users share a direction and differ from it; items have a quality of their own that embeddings do not
show. A split holds out 30 % of the users and 30 % of the items. One direction is fitted to the
others, each held-out user's direction is drawn towards it by 20 shots on known items, and both
predict up to 20 choices of the user on held-out items. The gain is the accuracy of the personal
directions less that of the shared one, paired, averaged over users and splits. The truth is what
the same fits gain on the average over fresh users and fresh items: 3,000 users who give 20 shots
and are asked about 10 items that nobody else sees, the noise of their choices left out.

Each line of the table: how many items, users and splits; the true gain; the standard deviation of
the error over populations; the root mean square of the standard errors; how many 95 % intervals
hold the truth, with its own interval (Wilson); and the same for an interval about users alone.

Measured, % held (about users alone), 200 populations of 100 items and 150 of 300, so that a number
has a standard error of 1.5 to 2:

| items | users | 1 split     | 2 splits    | 3 splits    | 10 splits   |
|-------|-------|-------------|-------------|-------------|-------------|
| 100   | 50    | 93.0 (87.5) | 97.0 (92.5) | 95.0 (91.0) | 94.5 (89.5) |
| 100   | 100   | 93.0 (89.0) | 93.5 (84.5) | 95.5 (86.0) | 92.5 (82.5) |
| 100   | 400   | 95.0 (73.5) | 92.0 (61.5) | 95.0 (72.5) | 96.5 (60.0) |
| 300   | 50    | 96.7 (94.7) | 98.0 (95.3) | 96.0 (96.0) | 98.0 (94.7) |
| 300   | 100   | 92.0 (90.0) | 98.0 (96.0) | 94.7 (92.7) | 96.7 (94.0) |
| 300   | 400   | 95.3 (86.7) | 96.7 (86.0) | 96.7 (86.7) | 94.0 (75.3) |

Time: about ten minutes on one CPU core.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest
from tqdm import tqdm

from experiments.common import command_line
from lore_jax.data.preferences import from_arrays
from lore_jax.data.splits import split_users
from lore_jax.evaluation.influences import buckets_of, pair_influences
from lore_jax.evaluation.intervals import Estimate, Sample, Sums, estimate
from lore_jax.evaluation.metrics import per_user_mean
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file

_HELD_OUT = 0.3  # share of the users, and of the items


@dataclasses.dataclass(frozen=True)
class Config:
    """Counts how many intervals hold the true gain, for some sizes of data and numbers of splits.

    Attributes:
        out: where to write.
        items: numbers of items.
        users: numbers of users.
        splits: numbers of splits.
        populations: how many data sets of each size.
        seed: seed of everything.
        smoke: one small size, three populations.
    """

    out: Path
    items: tuple[int, ...] = (100, 300)
    users: tuple[int, ...] = (50, 100, 400)
    splits: tuple[int, ...] = (1, 2, 3, 10)
    populations: int = 300
    seed: int = 0
    smoke: bool = False


@dataclasses.dataclass(frozen=True)
class World:
    """What is simulated.

    Attributes:
        dim: length of an embedding, of the difference of an item's two responses.
        scale: size of a margin, in logits.
        spread: how much users differ, relative to what they share.
        quality: size of what embeddings do not show of an item, in logits.
        judged: items that a user judges.
        shots: of them, known to the personal direction.
        tests: of them, predicted.
        fresh: users to find the truth with.
        fresh_tests: items of each of them.
        ridge: of the shared direction.
        ridge_deviation: of a user's deviation from it.
    """

    dim: int = 10
    scale: float = 2.0
    spread: float = 1.2
    quality: float = 1.0
    judged: int = 60
    shots: int = 20
    tests: int = 20
    fresh: int = 3000
    fresh_tests: int = 10
    ridge: float = 10.0
    ridge_deviation: float = 8.0


class Population(NamedTuple):
    """Items, users and their choices.

    Attributes:
        features: of the items.
        quality: of the items, in logits.
        choice: 1 or -1; 0 where the user did not judge the item.
    """

    features: Float[np.ndarray, "items dim"]
    quality: Float[np.ndarray, " items"]
    choice: Float[np.ndarray, "users items"]


class Fresh(NamedTuple):
    """Users who take no part in anything, each with items of their own.

    Attributes:
        weights: their directions.
        features: of their items.
        probability: of preferring the first response.
    """

    weights: Float[np.ndarray, "users dim"]
    features: Float[np.ndarray, "users items dim"]
    probability: Float[np.ndarray, "users items"]


def coverage_of(
    world: World, *, items: int, users: int, splits: int, seed: int
) -> tuple[Estimate, Estimate, float]:
    """One population: the gain for new users and items, for new users alone, and the truth."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=world.dim)
    shared *= np.sqrt(world.dim) / np.linalg.norm(shared)
    features = _features(rng, world, (items,))
    quality = world.quality * rng.normal(size=items)
    weights = shared + world.spread * rng.normal(size=(users, world.dim))
    judged = _some_of_each(rng, np.ones((users, items), bool), world.judged)
    choice = _choose(rng, weights @ features.T + quality) * judged
    population = Population(features, quality, choice)

    size = (world.fresh, world.fresh_tests)
    weights = shared + world.spread * rng.normal(size=(world.fresh, world.dim))
    fresh_features = _features(rng, world, size)
    margin = np.einsum("ud,uid->ui", weights, fresh_features)
    margin += world.quality * rng.normal(size=size)
    fresh = Fresh(weights, fresh_features, 1.0 / (1.0 + np.exp(-margin)))

    tested, truths = [], []
    for _ in range(splits):
        part, truth = _one_split(world, population, fresh, rng)
        tested.append(part)
        truths.append(truth)
    users_only = [part._replace(items=None, cells=None) for part in tested]
    return estimate(tested), estimate(users_only), float(np.mean(truths))


def _one_split(
    world: World, population: Population, fresh: Fresh, rng: np.random.Generator
) -> tuple[Sample, float]:
    """What the test of one split says, and what its fit gains on fresh users and items."""
    features, quality, choice = population
    users, items = choice.shape
    seen, unseen = split_users(users, _HELD_OUT, seed=int(rng.integers(2**31)))
    known, new = split_users(items, _HELD_OUT, seed=int(rng.integers(2**31)))
    of_known = features[known]
    direction = _shared_direction(world, of_known, choice[seen][:, known])

    def personal(choice: Float[np.ndarray, "users items"]) -> Float[np.ndarray, "users dim"]:
        return _personal_directions(world, of_known, choice, direction)

    shots = choice[unseen][:, known]
    shots = shots * _some_of_each(rng, shots != 0, world.shots)
    asked = choice[unseen][:, new]
    asked = asked * _some_of_each(rng, asked != 0, world.tests)
    user, item = np.nonzero(asked)
    outcome = asked[user, item]
    mine = np.einsum("pd,pd->p", personal(shots)[user], features[new[item]])
    theirs = features[new[item]] @ direction
    gain = (mine * outcome > 0).astype(float) - (theirs * outcome > 0)

    shots = _some_of_each(rng, np.ones((world.fresh, len(known)), bool), world.shots) * 1.0
    giver, given = np.nonzero(shots)
    margin = np.einsum("sd,sd->s", fresh.weights[giver], of_known[given]) + quality[known[given]]
    shots[giver, given] = _choose(rng, margin)
    weights = personal(shots)
    right = _expected(np.einsum("ud,uid->ui", weights, fresh.features), fresh.probability)
    without = _expected(fresh.features @ direction, fresh.probability)
    return _tested(gain, user, new[item], unseen), float((right - without).mean())


def _tested(
    gain: Float[np.ndarray, " pairs"],
    user: Int[np.ndarray, " pairs"],
    item: Int[np.ndarray, " pairs"],
    names: Int[np.ndarray, " users"],
) -> Sample:
    """The gain of each user, and influences of items and cells, as rows of results have them."""
    table = np.zeros((2, 1), np.float32)
    zeros = np.zeros_like(user)
    test = from_arrays(table, zeros, zeros + 1, user, prompt=item, user_ids=names.astype(str))
    influence = pair_influences(gain, user, len(names))
    sums = [Sums(part.bucket, part.add(influence)) for part in buckets_of(test, "prompt")]
    return Sample(names, per_user_mean(gain, user, len(names)), *sums)


def _shared_direction(
    world: World, features: Float[np.ndarray, "items dim"], choice: Float[np.ndarray, "users items"]
) -> Float[np.ndarray, " dim"]:
    """Ridge regression of the choices of all users."""
    count = (choice != 0).sum(axis=0)
    gram = features.T @ (count[:, None] * features) + world.ridge * np.eye(world.dim)
    return np.linalg.solve(gram, features.T @ choice.sum(axis=0))


def _personal_directions(
    world: World,
    features: Float[np.ndarray, "items dim"],
    choice: Float[np.ndarray, "users items"],
    direction: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, "users dim"]:
    """Ridge regression of each user's choices towards the shared direction."""
    is_known = (choice != 0).astype(float)
    products = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    gram = (is_known @ products).reshape(-1, world.dim, world.dim)
    residual = (choice - is_known * (features @ direction)) @ features
    gram = gram + world.ridge_deviation * np.eye(world.dim)
    return direction + np.linalg.solve(gram, residual[:, :, None])[:, :, 0]


def _features(rng: np.random.Generator, world: World, size: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=(*size, world.dim)) * (world.scale / np.sqrt(world.dim))


def _choose(rng: np.random.Generator, margin: np.ndarray) -> np.ndarray:
    return np.where(rng.random(margin.shape) < 1.0 / (1.0 + np.exp(-margin)), 1.0, -1.0)


def _some_of_each(rng: np.random.Generator, possible: np.ndarray, count: int) -> np.ndarray:
    """At most `count` random entries of each row of those that are possible."""
    order = np.where(possible, rng.random(possible.shape, np.float32), np.inf)
    count = min(count, possible.shape[1])
    last = np.partition(order, count - 1, axis=1)[:, count - 1 : count]
    return possible & (order <= last)


def _expected(margin: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Expected accuracy of the sign of the margin."""
    return np.where(margin > 0, probability, 1.0 - probability)


def measure(world: World, *, populations: int, **size: int) -> dict[str, float]:
    """Coverage over some populations of one size."""
    seeds = np.random.SeedSequence([*size.values()]).generate_state(populations)
    size = {name: value for name, value in size.items() if name != "seed"}
    found = [coverage_of(world, **size, seed=int(seed)) for seed in seeds]
    both, users, truth = (np.array(column, object) for column in zip(*found, strict=True))
    truth = truth.astype(float)
    error = np.array([one.mean for one in both]) - truth
    variance = np.array([one.variance for one in both])

    def holds(estimates: np.ndarray) -> int:
        intervals = [one.interval() for one in estimates]
        pairs = zip(intervals, truth, strict=True)
        return sum(interval.low <= value <= interval.high for interval, value in pairs)

    share = binomtest(holds(both), populations).proportion_ci(0.95, "wilson")
    return {
        **size,
        "gain": float(truth.mean()),
        "error": float(error.std()),
        "standard error": float(np.sqrt(variance.mean())),
        "held": holds(both) / populations,
        "low": share.low,
        "high": share.high,
        "held, users alone": holds(users) / populations,
    }


def run(config: Config, world: World = World()) -> dict[str, Any]:
    """Measures every size, writes `interval_coverage.json` and prints the table."""
    if config.smoke:
        config = Config(config.out, items=(100,), users=(50,), splits=(2,), populations=3)
    sizes = list(itertools.product(config.items, config.users, config.splits))
    measured = [
        measure(
            world,
            populations=config.populations,
            items=items,
            users=users,
            splits=splits,
            seed=config.seed,
        )
        for items, users, splits in tqdm(sizes, desc="sizes", disable=None)
    ]
    result = {"world": dataclasses.asdict(world), "measured": measured}
    config.out.mkdir(parents=True, exist_ok=True)
    write_file(config.out / "interval_coverage.json", [json.dumps(result, indent=1).encode()])
    print(table(measured))
    return result


def table(measured: list[dict[str, float]]) -> str:
    """The numbers in Markdown; gains, errors and shares in points."""
    lines = [["items", "users", "splits", "gain", "sd of the error", "standard error"]]
    lines[0] += ["held, %", "Wilson", "held, users alone, %"]
    for row in measured:
        counts = [f"{row[name]:.0f}" for name in ("items", "users", "splits")]
        sizes = [f"{100 * row[name]:.2f}" for name in ("gain", "error", "standard error")]
        wilson = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"
        held = [f"{100 * row[name]:.1f}" for name in ("held", "held, users alone")]
        lines.append([*counts, *sizes, held[0], wilson, held[1]])
    return markdown(lines)


if __name__ == "__main__":
    command_line.main(run, Config)
