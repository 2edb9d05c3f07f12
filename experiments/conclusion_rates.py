"""False-positive rate and power of the conclusion, on synthetic data with known ground truth.

    python -m experiments.conclusion_rates --out RUN

Every seed makes a population and draws three data sets of 300 seen users of 30 pairs, for the fit,
and 500 unseen users who give 20 shots and are tested on 20 pairs over prompts that are new to
everybody:

- *equal*: users do not differ; the conclusion should be no;
- *differ*: users differ so much that knowing the basis and the population exactly, 20 shots gain 3
  points of accuracy over no shots (found by bisection on a large population); the fit has to learn
  both; the conclusion should be yes;
- *permuted*: the same data, its pairs dealt out among users at random, in each part by itself; the
  conclusion should be no.

"Yes" where users are equal or permuted is a false positive; "yes" where they differ is the power.
Each data set goes through everything a user of the library would do: rank, ridges, components and
the rest chosen on validation folds, the fit, adapting the unseen users, the rows with their
controls, the conclusion.

Expected: right in 100 of 100 seeds in each case; +3.1 points on the average where users differ.

Time: 100 seeds take about 40 minutes on one CPU core, --smoke a minute. Each seed is one file in
RUN/parts: a run that was stopped goes on where it was. RUN/conclusion_rates.json holds the rates
with their Wilson intervals, and the seeds with a wrong conclusion.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.stats import binomtest

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import population_model
from experiments.common.parts import Part, run_parts
from lore_jax.data.four_way import split_digest
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation import metrics
from lore_jax.evaluation.conclusion import conclude
from lore_jax.evaluation.controls import permute_users
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.names import GAUSSIAN
from lore_jax.evaluation.results import Where, describe_split, make_results, plain
from lore_jax.evaluation.schema import Results
from lore_jax.methods.base import BasisPredictor
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file

HELPS = {"equal": False, "permuted": False, "differ": True}  # the ground truth of each case


@dataclasses.dataclass(frozen=True)
class Config:
    """Counts how often the conclusion is right where it is known whether personalising helps.

    Attributes:
        out: where to write.
        seeds: how many seeds.
        first_seed: the first of them.
        smoke: two seeds of small sizes, nothing chosen on validation, to see that everything runs.
    """

    out: Path
    seeds: int = 100
    first_seed: int = 0
    smoke: bool = False


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is simulated for every seed, and how it is fitted; equal sizes share compiled programs.

    Attributes:
        seen: seen users.
        pairs: training pairs of each.
        unseen: unseen users.
        shots: shots of each.
        tests: test pairs of each.
        gain: what shots gain where users differ, in shares of 1.
        many: users of the population on which that gain is set.
        truth: everything else about the data; each user's pairs are drawn from those it makes.
        fit: what is fitted.
    """

    seen: int = 300
    pairs: int = 30
    unseen: int = 500
    shots: int = 20
    tests: int = 20
    gain: float = 0.03
    many: int = 20_000
    truth: SyntheticConfig = SyntheticConfig(  # noqa: RUF009
        num_prompts=200,
        responses_per_prompt=4,
        pairs_per_user=(120, 120),
        dim=16,
        rank=3,
        noise=0.5,
    )
    fit: lore.FitConfig = population_model(group_by=None)  # noqa: RUF009


SMOKE = Sizes(seen=40, unseen=60, many=200, fit=population_model(smoke=True))


class Data(NamedTuple):
    """The pairs of a seed.

    Attributes:
        train: training pairs of the seen users.
        shots: shots of the unseen users.
        test: test pairs of the unseen users.
    """

    train: lore.Preferences
    shots: lore.Preferences
    test: lore.Preferences


def simulate(
    sizes: Sizes, spread: float, *, seen: int, unseen: int, seed: int
) -> tuple[lore.Model, Data]:
    """The true model, and pairs: half of the prompts to fit and adapt on, the rest to test on."""
    truth = synthetic(
        dataclasses.replace(sizes.truth, num_users=seen + unseen, spread=spread), seed=seed
    )
    is_known = truth.prefs.prompt < sizes.truth.num_prompts // 2
    known, new = truth.prefs.take_pairs(is_known), truth.prefs.take_pairs(~is_known)
    seen_users, unseen_users = np.arange(seen), np.arange(seen, seen + unseen)
    return truth.model, Data(
        lore.draw_shots(known.take_users(seen_users), sizes.pairs, seed=seed),
        lore.draw_shots(known.take_users(unseen_users), sizes.shots, seed=seed),
        lore.draw_shots(new.take_users(unseen_users), sizes.tests, seed=seed),
    )


def oracle_gain(sizes: Sizes, spread: float, *, seed: int) -> float:
    """What shots gain in accuracy for somebody who knows the basis and the population."""
    truth, data = simulate(sizes, spread, seen=0, unseen=sizes.many, seed=seed)
    with_shots, without = (
        metrics.correct(lore.margins(truth, lore.adapt(truth, shots), data.test).mean).mean()
        for shots in (data.shots, lore.draw_shots(data.shots, 0, seed=seed))
    )
    return float(with_shots - without)


def find_spread(sizes: Sizes, *, seed: int) -> float:
    """The spread of users at which the oracle gains what is asked for, by bisection."""
    low, high = 0.0, 2.0
    for _ in range(10):
        middle = 0.5 * (low + high)
        if oracle_gain(sizes, middle, seed=seed) < sizes.gain:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def permuted(data: Data, *, seed: int) -> Data:
    """Every part's pairs under permuted user labels."""
    return Data(*(permute_users(part, seed=seed + number) for number, part in enumerate(data)))


def conclusion_of(sizes: Sizes, data: Data, *, seed: int) -> dict[str, Any]:
    """The whole pipeline on one data set: choose, fit, adapt, evaluate, and the conclusion."""
    model, users, history = lore.fit(data.train, sizes.fit, key=jax.random.key(seed))
    condition = Condition("unseen", "new items", data.shots, data.test)
    rows = evaluate(
        {GAUSSIAN: BasisPredictor(model, users)}, [condition], shots=(0, sizes.shots), seed=seed
    )
    unseen = data.train.num_users + np.arange(data.test.num_users)
    entry = describe_split(
        {"seen": np.arange(data.train.num_users), "unseen": unseen},
        items=("new items",),
        group_by="prompt",
        digest=split_digest([], [*data]),
    )
    results = make_results(rows, [entry], name="conclusion_rates", config=sizes, seed=seed)
    where = Where("unseen", "new items", GAUSSIAN, shots=sizes.shots)
    return {**conclude(results, where), "choice": history.choice}


def evaluate_part(sizes: Sizes, spread: float, *, seed: int) -> Results:
    """One seed: the conclusion in each of the three cases."""
    equal, differ = (
        simulate(sizes, width, seen=sizes.seen, unseen=sizes.unseen, seed=seed)[1]
        for width in (0.0, spread)
    )
    cases = {"equal": equal, "permuted": permuted(differ, seed=seed), "differ": differ}
    return make_results(
        [],
        [],
        name="conclusion_rates",
        config={"sizes": sizes, "spread": spread},
        seed=seed,
        measured={name: conclusion_of(sizes, data, seed=seed) for name, data in cases.items()},
    )


def run(config: Config) -> dict[str, Any]:
    """Makes the seeds that are missing, then the rates over all of them."""
    sizes = SMOKE if config.smoke else Sizes()
    spread = find_spread(sizes, seed=2**31 - 1)  # not one of the seeds
    settings = {"sizes": sizes, "spread": spread}

    def part(seed: int) -> Part:
        def make() -> Results:
            return evaluate_part(sizes, spread, seed=seed)

        return Part(str(seed), {"config": settings, "seed": seed}, make)

    last = config.first_seed + (2 if config.smoke else config.seeds)
    seeds = [part(seed) for seed in range(config.first_seed, last)]
    parts = run_parts(config.out / "parts", seeds, description="seeds")
    result = plain({**settings, "cases": {name: summary(name, parts) for name in HELPS}})
    write_file(config.out / "conclusion_rates.json", [json.dumps(result, indent=1).encode()])
    print(table(result))
    return result


def summary(case: str, parts: list[Results]) -> dict[str, object]:
    """How often the conclusion was right in a case, and the mean of what was measured."""
    conclusions = [part["measured"][case] for part in parts]
    wrong_seeds = [part["seed"] for part in parts if part["measured"][case]["helps"] != HELPS[case]]
    right = len(parts) - len(wrong_seeds)
    points = [100.0 * conclusion["over_population"][0] for conclusion in conclusions]
    interval = binomtest(right, len(parts)).proportion_ci(0.95, "wilson")
    return {
        "seeds": len(parts),
        "right": right,
        "wilson": [interval.low, interval.high],
        "points": float(np.mean(points)),
        "rank 1 chosen": sum(conclusion["choice"]["rank"] == 1 for conclusion in conclusions),
        "wrong seeds": wrong_seeds,
    }


def table(result: dict[str, Any]) -> str:
    """The rates, in Markdown."""
    head = ["users", "right conclusion", "of seeds", "95 % interval", "points, mean"]
    lines = [[*head, "rank 1 chosen"]]
    for name, case in result["cases"].items():
        low, high = (100.0 * end for end in case["wilson"])
        lines.append(
            [
                name,
                "yes" if HELPS[name] else "no",
                f"{case['right']} of {case['seeds']}",
                f"{low:.1f} to {high:.1f} %",
                f"{case['points']:+.2f}",
                str(case["rank 1 chosen"]),
            ]
        )
    return markdown(lines)


if __name__ == "__main__":
    command_line.main(run, Config)
