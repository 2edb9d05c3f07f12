"""What a user's intercept alone loses where users have a scale of ratings of their own.

    python -m experiments.rating_scale --out RUN

The model has ratings by `P(level <= k) = sigmoid(a_k - r - b)`, b the user's intercept. Some people
use the whole scale, others its middle: their cut points are stretched, `s a_k` instead of a_k, with
an s of their own. Here s is log-normal with mean 1; ratings of new users, whose rewards, population
and cut points are known, are explained with `b ~ N(0, 1)` alone, and with `s ~ N(1, sd^2)` as well.

How s is fitted. The scale is not linear in the reward, but it is in the cut points: with u and l
the cut points above and below the level that was said, and z = r + b,

    -log P(level) = softplus(z - s u) + softplus(s l - z) - log(1 - exp(-s (u - l)))

(`solvers/ordinal.py` at s = 1), three convex functions of three linear ones. So the joint loss in
weights, b and s is convex, Newton's method with halved steps finds its only minimum, and the last
term keeps s above 0 once a level between two cut points was said. Users of one level only stay
where the prior has them. The gradients are checked against differences by the test.

What is measured: the share of random pairs of which the better response is found, and the log loss
of twenty held-out ratings, integrated over the Laplace posterior.

Time: ten seconds of one CPU core.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from experiments.common import command_line
from lore_jax.datasets.synthetic_feedback import STARS, TRUE_ANSWERS
from lore_jax.storage.files import write_file

K = 5  # directions along which users differ
CUTS = np.asarray(TRUE_ANSWERS.cuts(STARS.scale), float)
DRAWS = 64
LEAST_SCALE = 0.05  # of draws: a Gaussian has some below 0


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures what a scale of a user's own would tell.

    Attributes:
        out: where to write.
        users: how many.
        spreads: standard deviations of log s.
        counts: ratings of a user.
        smoke: few of all, to see that everything runs.
    """

    out: Path
    users: int = 800
    spreads: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)
    counts: tuple[int, ...] = (5, 10, 20, 40)
    smoke: bool = False


class Ratings(NamedTuple):
    """What users rated: `r = offset + features . d`, and the level said."""

    offset: np.ndarray  # [users, ratings]
    features: np.ndarray  # [users, ratings, K]
    level: np.ndarray

    def first(self, count: int) -> Ratings:
        """The first few of each user."""
        return Ratings(*[values[:, :count] for values in self])


class Losses(NamedTuple):
    """Loss of each user, its gradient and Hessian in (d, b, s's deviation)."""

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


def draw(
    rng: np.random.Generator, d: np.ndarray, b: np.ndarray, s: np.ndarray, count: int
) -> Ratings:
    """Ratings of responses whose rewards differ by 2 logits, half of their variance personal."""
    offset = rng.normal(size=(len(d), count))
    features = rng.normal(size=(len(d), count, K)) / np.sqrt(K)
    latent = offset + np.einsum("unk,uk->un", features, d) + b[:, None]
    latent = latent + rng.logistic(size=latent.shape)
    level = (latent[..., None] > s[:, None, None] * CUTS).sum(axis=-1)
    return Ratings(offset, features, level)


def losses(x: np.ndarray, ratings: Ratings, spread: float) -> Losses:
    """Minus the log posterior at x, `[users, K + 1]`, or with a last column where s is not 1.

    Args:
        x: d, b and, where `spread` is above 0, (s - 1) / spread.
        ratings: of the users.
        spread: prior standard deviation of s; 0: s is 1.
    """
    own, top = spread > 0, len(CUTS)
    padded = np.concatenate([[0.0], CUTS, [0.0]])
    lower, upper = padded[ratings.level], padded[ratings.level + 1]
    above, below = ratings.level < top, ratings.level > 0
    along = np.concatenate([ratings.features, np.ones((*lower.shape, 1))], axis=-1)

    def with_scale(rows: np.ndarray, per_scale: np.ndarray) -> np.ndarray:
        return np.concatenate([rows, spread * per_scale[..., None]], axis=-1) if own else rows

    # Margins of s u over z, of z over s l, and of s u over s l.
    three = [
        (with_scale(-along, upper), upper - ratings.offset, above),
        (with_scale(along, -lower), ratings.offset - lower, below),
        (with_scale(0.0 * along, upper - lower), upper - lower, above & below),
    ]
    value = 0.5 * np.sum(x**2, axis=1)
    gradient, hessian = x.copy(), np.tile(np.eye(x.shape[1]), (len(x), 1, 1))
    for number, (features, start, counts) in enumerate(three):
        margin = np.where(counts, start + np.einsum("unk,uk->un", features, x), 1.0)
        if number < 2:
            lost = expit(-margin)
            loss, slope, curvature = np.logaddexp(0.0, -margin), -lost, lost * (1.0 - lost)
        else:
            inside = np.maximum(margin, 1e-9)
            gap = -np.expm1(-inside)
            loss = np.where(margin > 0, -np.log(gap), np.inf)
            slope, curvature = -(1.0 - gap) / gap, (1.0 - gap) / gap**2
        value = value + np.sum(np.where(counts, loss, 0.0), axis=1)
        gradient += np.einsum("un,unk->uk", counts * slope, features)
        hessian += np.einsum("un,unk,unj->ukj", counts * curvature, features, features)
    return Losses(value, gradient, hessian)


def posterior(ratings: Ratings, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Modes and Laplace covariances of all users at once, by Newton's method with halved steps."""
    x = np.zeros((len(ratings.level), K + 1 + (spread > 0)))
    now = losses(x, ratings, spread)
    for _ in range(40):
        step = -np.linalg.solve(now.hessian, now.gradient[..., None])[..., 0]
        if np.abs(step).max() < 1e-8:
            break
        share = np.ones((len(x), 1))
        for _ in range(20):
            worse = losses(x + share * step, ratings, spread).value > now.value + 1e-9
            if not worse.any():
                break
            share = np.where(worse[:, None], 0.5 * share, share)
        x = x + share * step
        now = losses(x, ratings, spread)
    return x, np.linalg.inv(now.hessian)


def log_loss(x: np.ndarray, covariance: np.ndarray, test: Ratings, spread: float) -> float:
    """Of the ratings of a test, the posterior integrated by draws."""
    rng, lower = np.random.default_rng(9), np.linalg.cholesky(covariance)
    ends = np.concatenate([[-np.inf], CUTS, [np.inf]])
    probability = np.zeros(test.level.shape)
    for _ in range(DRAWS):
        drawn = x + np.einsum("ukj,uj->uk", lower, rng.normal(size=x.shape))
        margin = test.offset + np.einsum("unk,uk->un", test.features, drawn[:, :K])
        margin = margin + drawn[:, K : K + 1]
        s = np.maximum(1.0 + spread * drawn[:, -1:], LEAST_SCALE) if spread else 1.0
        above, below = s * ends[test.level + 1], s * ends[test.level]
        probability += (expit(above - margin) - expit(below - margin)) / DRAWS
    return float(-np.mean(np.log(probability)))


def compared(config: Config, spread: float) -> dict[str, Any]:
    """Both models on users whose log s has this standard deviation."""
    rng, users = np.random.default_rng(0), 60 if config.smoke else config.users
    counts = config.counts[:2] if config.smoke else config.counts
    d, b = rng.normal(size=(users, K)), rng.normal(size=users)
    s = np.exp(spread * rng.normal(size=users) - 0.5 * spread**2)
    given, test = draw(rng, d, b, s, max(counts)), draw(rng, d, b, s, 20)
    apart = draw(rng, d, b, s, 100), draw(rng, d, b, s, 100)

    def margin(of: np.ndarray) -> np.ndarray:
        features = apart[0].features - apart[1].features
        return apart[0].offset - apart[1].offset + np.einsum("unk,uk->un", features, of)

    rows: dict[str, Any] = {}
    for count in counts:
        row = {}
        for name, prior in (("intercept alone", 0.0), ("own scale too", max(spread, 0.2))):
            x, covariance = posterior(given.first(count), prior)
            found = np.sign(margin(x[:, :K])) == np.sign(margin(d))
            loss = log_loss(x, covariance, test, prior)
            row[name] = {"right": float(found.mean()), "log_loss": loss}
        rows[f"{count} ratings"] = row
    return rows


def run(config: Config) -> dict[str, Any]:
    """Measures everything; prints and writes `results.json`."""
    spreads = config.spreads[-1:] if config.smoke else config.spreads
    results = {f"log s has sd {spread:g}": compared(config, spread) for spread in spreads}
    print(json.dumps(results, indent=1), flush=True)
    config.out.mkdir(parents=True, exist_ok=True)
    write_file(config.out / "results.json", [json.dumps(results, indent=1).encode()])
    return results


if __name__ == "__main__":
    command_line.main(run, Config)
