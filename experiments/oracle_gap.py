"""How much is lost by learning the basis: fits against an oracle that knows the true one.

    python -m experiments.oracle_gap --out RUN

Synthetic users of the simplex family (the paper's own assumption) at the paper's sizes:
Dirichlet(0.1) weights on 5 true columns, dim 64, 3,200 responses, 1,000 seen users of 45 training
pairs each, and 430 unseen users who adapt to a few pairs; 30 % of the prompts are new to everybody,
and test. Choices are noisy, so that an oracle is not perfect either.

Methods: the paper's objective, initialisation and 1,000 steps at the true rank, and the same
stopped after 300 steps (nothing in the objective keeps its columns from moving apart until they fit
the seen users' noise); the population model with everything chosen on validation; the oracle, which
has the true basis and the same per-user solver.

Time: about two minutes a seed; 30 s with --smoke. Each seed is one file in RUN/parts: a run that
was stopped goes on where it was. RUN/oracle_gap.json has the numbers.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import paper_objective, population_model
from lore_jax.data.four_way import FourWay
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation import metrics
from lore_jax.evaluation.intervals import Interval, Sample, combine, estimate
from lore_jax.evaluation.results import make_results, plain
from lore_jax.evaluation.schema import Results
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file

SHOTS = (0, 5, 10, 20)
FULL = SyntheticConfig(
    num_users=1430, pairs_per_user=(64, 64), users="simplex", alpha=0.1, noise=0.25
)
SMOKE = dataclasses.replace(FULL, num_users=80, num_prompts=80, pairs_per_user=(30, 30))

Intervals = dict[str, dict[int, Interval]]  # names of methods to shots to what was measured


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures what fits of synthetic simplex users lose to an oracle that knows the basis.

    Attributes:
        out: where to write.
        seeds: how many seeds.
        smoke: one seed of small sizes and fits of a few steps, to see that everything runs.
    """

    out: Path
    seeds: int = 3
    smoke: bool = False


def accuracy(model: lore.Model, split: FourWay, shots: int, seed: int) -> np.ndarray:
    """Accuracy of each unseen user on unseen prompts after some shots, `[users]`."""
    posterior = lore.adapt(model, lore.draw_shots(split.shots, shots, seed=seed))
    test = split.tests["unseen", "new items"]
    margin = lore.margins(model, posterior, test).mean
    return metrics.per_user_mean(metrics.correct(margin), test.user, test.num_users)


def evaluate_part(data: SyntheticConfig, fits: dict[str, lore.FitConfig], *, seed: int) -> Results:
    """One seed: per-user accuracies of every method after every number of shots."""
    truth = synthetic(data, seed=seed)
    split = lore.four_way(truth.prefs, group_by="prompt", items=("new items",), seed=seed)
    key = jax.random.key(seed)
    models = {name: lore.fit(split.train, fit, key=key)[0] for name, fit in fits.items()}
    models["oracle"] = truth.model
    per_user = {
        name: {shots: accuracy(model, split, shots, seed) for shots in SHOTS}
        for name, model in models.items()
    }
    config = {"data": data, "fits": fits}
    return make_results([], [], name="oracle_gap", config=config, seed=seed, measured=per_user)


def run(config: Config) -> dict[str, Intervals]:
    """Makes the parts that are missing, prints the table and writes `oracle_gap.json`.

    Returns:
        The `accuracy` of every method, and what it has `lost to the oracle` and `to the paper`.
    """
    data, smoke = (SMOKE, True) if config.smoke else (FULL, False)
    # Raw embeddings times 30: what the paper's temperature of 100 expects of a reward model's
    # hidden states.
    fits = {
        "paper": paper_objective(rank=data.rank, scale=30.0, smoke=smoke),
        "simplex, 300 steps": paper_objective(rank=data.rank, scale=30.0, steps=300, smoke=smoke),
        "gaussian": population_model(group_by=None, smoke=smoke),
    }

    def part(seed: int) -> Part:
        settings = {"config": {"data": data, "fits": fits}, "seed": seed}
        return Part(str(seed), settings, lambda: evaluate_part(data, fits, seed=seed))

    parts = [part(seed) for seed in range(1 if smoke else config.seeds)]
    seeds = run_parts(config.out / "parts", parts, description="seeds")

    def per_user(name: str, shots: int) -> list[np.ndarray]:
        return [np.array(seed["measured"][name][str(shots)], np.float64) for seed in seeds]

    methods = list(seeds[0]["measured"])
    result: dict[str, Intervals] = {
        "accuracy": {name: {k: over_seeds(per_user(name, k)) for k in SHOTS} for name in methods}
    }
    for other in ("oracle", "paper"):
        losses: Intervals = {}
        for name in methods:
            best, own = per_user(other, 10), per_user(name, 10)
            lost = [one - two for one, two in zip(best, own, strict=True)]
            losses[name] = {10: over_seeds(lost)}
        result[f"lost to the {other}"] = losses
    print(table(result))
    write_file(config.out / "oracle_gap.json", [json.dumps(plain(result), indent=1).encode()])
    return result


def over_seeds(per_user: list[np.ndarray]) -> Interval:
    """The mean over seeds; each is a population of its own, and says how much users differ."""
    seeds = [estimate([Sample(np.arange(len(values)), values)]) for values in per_user]
    return combine(seeds).interval()


def table(result: dict[str, Intervals]) -> str:
    """The numbers as text, a line a method."""
    lines = [
        "unseen users, unseen prompts: accuracy in % after 0, 5, 10, 20 shots, and points lost "
        "at 10 (95 % interval, about users only)"
    ]
    for name, of_shots in result["accuracy"].items():
        line = "  ".join(f"{shots}: {100 * of_shots[shots].mean:.1f}" for shots in SHOTS)
        for other in ("oracle", "paper"):
            mean, low, high = (100 * end for end in result[f"lost to the {other}"][name][10])
            line += f"   to the {other} {mean:.2f} ({low:.2f} to {high:.2f})"
        lines.append(f"{name:18s} {line}")
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.main(run, Config)
