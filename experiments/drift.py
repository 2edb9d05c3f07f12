"""Users who change: what forgetting regains, what it costs those who do not, and what is noticed.

    python -m experiments.drift --out RUN

Synthetic users of a prior of rank 8 answer 100 random pairs one after the other:

    static   the weights stay as they are;
    slow     an Ornstein-Uhlenbeck process: after 30 answers half of a deviation is left;
    sudden   after 50 answers the weights are drawn anew.

Each answer is predicted from those before it. What counts is the second half: log loss and accuracy
of answers 51 to 100. Rates are chosen on other users of the same kind (`choose_retention`,
`choose_half_life`), and beside them stands the best rate on the users themselves, an oracle's
(for slow users it knows the true rate). "regained" is the part of the oracle's gain over no
forgetting that the chosen rate has. The detector's bound is simulated once; false alarms are static
users who pass it.

Writes RUN/results.json and RUN/tables.md. Time: a minute or two on two cores.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file
from lore_jax.users.drift import HALF_LIVES, RETENTIONS, aged_log_probability
from lore_jax.users.filtering import retention_of

Kind = Literal["static", "slow", "sudden"]
RANK, RESPONSES, SLOW_HALF_LIFE = 8, 400, 30.0


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares ways of forgetting on synthetic users.

    Attributes:
        out: where to write.
        users: of each kind, in the test.
        validation_users: of each kind, to choose rates on.
        length: answers of each user.
        splits: how many times everything is drawn.
        seed: seed of everything.
        smoke: tiny sizes.
    """

    out: Path
    users: int = 400
    validation_users: int = 200
    length: int = 100
    splits: int = 3
    seed: int = 0
    smoke: bool = False


def synthetic_model() -> Model:
    """Known directions, which matter to users by unequal amounts."""
    scale = np.diag(np.geomspace(2.0, 0.3, RANK)).astype(np.float32)
    prior = GaussianPrior(jnp.zeros(RANK), jnp.asarray(scale))
    return Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), prior)


def answers_of(model: Model, kind: Kind, users: int, length: int, *, seed: int) -> Preferences:
    """Answers of users who change, in their order."""
    rng = np.random.default_rng(seed)
    table = np.random.default_rng(0).standard_normal((RESPONSES, RANK)).astype(np.float32)
    scale = np.asarray(model.prior.factor)  # pyright: ignore[reportAttributeAccessIssue]
    rho = retention_of(SLOW_HALF_LIFE)
    deviation, paths = rng.standard_normal((users, RANK)), []
    for step in range(length):
        noise = rng.standard_normal((users, RANK))
        if kind == "slow":
            deviation = rho * deviation + math.sqrt(1 - rho**2) * noise
        elif kind == "sudden" and step == length // 2:
            deviation = noise
        paths.append(deviation @ scale.T)
    weights = np.stack(paths, axis=1).reshape(users * length, RANK)
    first = rng.integers(RESPONSES, size=users * length)
    second = (first + rng.integers(1, RESPONSES, size=len(first))) % RESPONSES
    margin = np.sum((table[first] - table[second]) * weights, axis=1)
    is_first = rng.random(len(first)) < 1.0 / (1.0 + np.exp(-margin))
    sides = np.where(is_first, first, second), np.where(is_first, second, first)
    return from_arrays(table, *sides, np.repeat(np.arange(users), length), num_users=users)


def late(log_probability: np.ndarray, length: int) -> dict[str, float]:
    """Log loss and accuracy of the second half of everybody's answers."""
    second = log_probability.reshape(-1, length)[:, length // 2 :]
    return {"log_loss": float(-second.mean()), "accuracy": float((second > math.log(0.5)).mean())}


def measure(model: Model, kind: Kind, config: Config, split: int) -> dict[str, Any]:
    """One kind of users: every way of forgetting."""
    seed = config.seed + 10 * split + get_args(Kind).index(kind)
    test = answers_of(model, kind, config.users, config.length, seed=seed)
    validation = answers_of(
        model, kind, config.validation_users, config.length, seed=seed + 1_000_000
    )
    retention = lore.choose_retention(model, validation, RETENTIONS).chosen
    half_life = lore.choose_half_life(model, validation, HALF_LIVES).chosen
    by_retention = {
        rate: late(lore.filter_answers(model, test, retention=rate).log_probability, config.length)
        for rate in {*RETENTIONS, retention_of(SLOW_HALF_LIFE)}
    }
    by_half_life = {
        rate: late(aged_log_probability(model, test, rate), config.length) for rate in HALF_LIVES
    }

    def best(results: dict[float, dict[str, float]]) -> float:
        return min(results, key=lambda rate: results[rate]["log_loss"])

    oracle = retention_of(SLOW_HALF_LIFE) if kind == "slow" else best(by_retention)
    return {
        "relaxing": _row(by_retention, 1.0, retention, oracle),
        "ageing": _row(by_half_life, math.inf, half_life, best(by_half_life)),
        "evidence": _evidence(model, test),
    }


def _row(
    results: dict[float, dict[str, float]], never: float, chosen: float, oracle: float
) -> dict[str, Any]:
    none, own, top = results[never], results[chosen], results[oracle]
    rates = {"chosen_rate": chosen, "oracle_rate": oracle}
    return {"none": none, "chosen": own, "oracle": top, **rates}


def _evidence(model: Model, test: Preferences) -> list[float]:
    filtered = lore.filter_answers(model, test)
    return lore.misfit(filtered.log_probability, filtered.population, test).tolist()


def detector(bound: float, evidence: list[float], length: int) -> dict[str, float]:
    """Shares of users who pass the bound in each half, and how long it took."""
    table = np.asarray(evidence).reshape(-1, length)
    passed = table > bound
    first = np.where(passed.any(axis=1), passed.argmax(axis=1), length)
    half = length // 2
    noticed = first[(first >= half) & (first < length)]
    return {
        "ever": float((first < length).mean()),
        "first_half": float((first < half).mean()),
        "second_half": float(len(noticed) / len(first)),
        "median_delay": float(np.median(noticed - half)) if len(noticed) else math.nan,
    }


def run(config: Config) -> dict[str, Any]:
    """Measures all kinds, and writes the tables."""
    if config.smoke:
        config = dataclasses.replace(config, users=10, validation_users=6, length=12, splits=1)
    model, results = synthetic_model(), {}
    config.out.mkdir(parents=True, exist_ok=True)
    pairs = answers_of(model, "static", 100, config.length, seed=config.seed + 77)
    bound = lore.detection_bound(
        model,
        pairs,
        length=config.length,
        num_users=50 if config.smoke else 4000,
        key=jax.random.key(config.seed),
    )
    for split in range(config.splits):
        for kind in get_args(Kind):
            found = measure(model, kind, config, split)
            found["detector"] = detector(bound, found.pop("evidence"), config.length)
            results[f"{kind}-{split}"] = found
    text = tables(results, bound)
    content = json.dumps(_finite({"bound": bound, "results": results}), allow_nan=False).encode()
    write_file(config.out / "results.json", [content])
    write_file(config.out / "tables.md", [text.encode(), b"\n"])
    print(text)
    return results


def _finite(value: Any) -> Any:
    """The same for JSON: what is not finite as text."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _mean(values: list[float]) -> float:
    """Over those that are numbers: where nobody passed, nobody waited."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def tables(results: dict[str, Any], bound: float) -> str:
    """Means over splits, in Markdown."""
    rows = [["users", "way", "rate", "none", "chosen", "oracle", "points", "log loss regained"]]
    alarms = [["users", "passed", "in the first half", "in the second", "median delay"]]
    for kind in get_args(Kind):
        parts = [found for name, found in results.items() if name.startswith(f"{kind}-")]
        for way in ("relaxing", "ageing"):
            each = [part[way] for part in parts]
            loss = {
                name: float(np.mean([one[name]["log_loss"] for one in each]))
                for name in ("none", "chosen", "oracle")
            }
            points = 100 * np.mean(
                [one["chosen"]["accuracy"] - one["none"]["accuracy"] for one in each]
            )
            gain = loss["none"] - loss["oracle"]
            regained = (loss["none"] - loss["chosen"]) / gain if gain > 1e-4 else math.nan
            chosen = ", ".join(f"{one['chosen_rate']:g}" for one in each)
            losses = [f"{value:.4f}" for value in loss.values()]
            rows.append([kind, way, chosen, *losses, f"{points:+.2f}", f"{regained:.0%}"])
        names = ("ever", "first_half", "second_half", "median_delay")
        means = [_mean([part["detector"][name] for part in parts]) for name in names]
        alarms.append([kind, *(f"{mean:.1%}" for mean in means[:3]), f"{means[3]:.0f}"])
    return (
        f"# Drift\n\nSecond half of the answers: log loss, points of accuracy gained over none.\n\n"
        f"{markdown(rows)}\n\n"
        f"Detector, bound {bound:.2f} nats:\n\n{markdown(alarms)}"
    )


if __name__ == "__main__":
    command_line.main(run, Config)
