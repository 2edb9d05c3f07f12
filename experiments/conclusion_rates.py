"""How often is the sentence right? The conclusion on made-up data of which it is known whether
personalising helps.

    python -m experiments.sentence --out RUN          (100 seeds: about 40 minutes on one CPU core; --smoke: 1 minute)

Every seed makes a population and draws three data sets of 300 seen users of 30 pairs, for the fit,
and 500 unseen users who give 20 shots and are tested on 20 pairs over prompts that are new to
everybody:

- *equal*: users do not differ; the sentence should say no;
- *differ*: users differ so much that knowing the basis and the population exactly, 20 shots gain 3
  points of accuracy over no shots (found by bisection on a large population); the fit has to learn
  both; the sentence should say yes;
- *shuffled*: the same data, its pairs dealt out among users at random, in each part by itself; it
should say no.

Each data set goes through everything a user of the library would do: rank, ridges, components and the
rest chosen on validation folds, the fit, adapting the unseen users, the rows with their controls,
the conclusion.

Expected: right in 100 of 100 seeds in each case; +3.1 points on the average where users differ.

Each seed is one file in RUN/parts: a run that was stopped goes on where it was. RUN/sentence.json
holds the shares with their Wilson intervals, and which seeds were told the wrong thing.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from scipy.stats import binomtest
from tqdm import tqdm

import lore_jax as lore
from lore_jax.data.four_way import split_digest
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation import metrics
from lore_jax.evaluation.conclusion import conclude
from lore_jax.evaluation.controls import permute_users
from lore_jax.evaluation.evaluate import Condition, evaluate, method
from lore_jax.evaluation.results import describe_split, make_results, plain
from lore_jax.storage.files import write_file

RIGHT = {"equal": False, "shuffled": False, "differ": True}  # what the sentence should say


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
        gain: planted difference, in shares of 1.
        many: users of the population on which the planted difference is set.
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
    fit: lore.FitConfig = lore.FitConfig()  # noqa: RUF009


SMOKE = Sizes(
    seen=40,
    unseen=60,
    many=200,
    fit=lore.FitConfig(
        rank=2,
        ridge_population=3.0,
        ridge_deviation=3.0,
        item_effects=0.0,
        num_components=0,
        logit_scale=1.0,
        population=lore.PopulationConfig(steps=5),
    ),
)


class Data(NamedTuple):
    """The pairs of a seed: training pairs of the seen users, shots and test pairs of the unseen
    ones.
    """

    train: lore.Preferences
    shots: lore.Preferences
    test: lore.Preferences


def simulate(
    sizes: Sizes, spread: float, *, seen: int, unseen: int, seed: int
) -> tuple[lore.Model, Data]:
    """The truth, and pairs over the first half of the prompts to fit and adapt on, over the others
    to test on.
    """
    truth = synthetic(
        dataclasses.replace(sizes.truth, num_users=seen + unseen, spread=spread), seed=seed
    )
    known = truth.prefs.prompt < sizes.truth.num_prompts // 2
    old, new = truth.prefs.take_pairs(known), truth.prefs.take_pairs(~known)
    of_seen, of_unseen = np.arange(seen), np.arange(seen, seen + unseen)
    return truth.model, Data(
        lore.draw_shots(old.take_users(of_seen), sizes.pairs, seed=seed),
        lore.draw_shots(old.take_users(of_unseen), sizes.shots, seed=seed),
        lore.draw_shots(new.take_users(of_unseen), sizes.tests, seed=seed),
    )


def planted_gain(sizes: Sizes, spread: float, *, seed: int) -> float:
    """What shots gain over no shots for somebody who knows the basis and the population: accuracy,
    micro = macro.
    """
    truth, data = simulate(sizes, spread, seen=0, unseen=sizes.many, seed=seed)
    right = [
        metrics.correct(lore.margins(truth, lore.adapt(truth, shots), data.test).mean).mean()
        for shots in (data.shots, lore.draw_shots(data.shots, 0, seed=seed))
    ]
    return float(right[0] - right[1])


def find_spread(sizes: Sizes, *, seed: int) -> float:
    """The spread of users at which the planted gain is what is asked for, by bisection."""
    low, high = 0.0, 2.0
    for _ in range(10):
        middle = 0.5 * (low + high)
        if planted_gain(sizes, middle, seed=seed) < sizes.gain:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def shuffled(data: Data, *, seed: int) -> Data:
    """Every part's pairs under shuffled user labels."""
    return Data(*(permute_users(part, seed=seed + number) for number, part in enumerate(data)))


def conclusion_of(sizes: Sizes, data: Data, *, seed: int) -> dict[str, Any]:
    """The whole pipeline on one data set: choose, fit, adapt, evaluate, and the conclusion."""
    model, users, history = lore.fit(data.train, sizes.fit, key=jax.random.key(seed))
    condition = Condition("unseen", "new items", data.shots, data.test)
    rows = evaluate(
        {"gaussian": method(model, users)}, [condition], shots=(0, sizes.shots), seed=seed
    )
    entry = describe_split(
        {
            "seen": np.arange(data.train.num_users),
            "unseen": data.train.num_users + np.arange(data.test.num_users),
        },
        items=("new items",),
        group_by="prompt",
        digest=split_digest([], [*data]),
    )
    results = make_results(rows, [entry], name="sentence", config=sizes, seed=seed)
    return {**conclude(results, "gaussian", shots=sizes.shots), "choice": history.choice}


def run(config: Config) -> dict[str, Any]:
    """All seeds, then how often the sentence was right."""
    sizes = SMOKE if config.smoke else Sizes()
    folder = config.out / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    spread = find_spread(sizes, seed=2**31 - 1)  # not one of the seeds
    settings = plain({"sizes": sizes, "spread": spread})
    parts = []
    for seed in tqdm(
        range(config.first_seed, config.first_seed + (2 if config.smoke else config.seeds)),
        disable=None,
    ):
        path = folder / f"{seed}.json"
        if not path.exists():
            counts = {"seen": sizes.seen, "unseen": sizes.unseen, "seed": seed}
            equal, differ = (simulate(sizes, of, **counts)[1] for of in (0.0, spread))
            cases = {"equal": equal, "shuffled": shuffled(differ, seed=seed), "differ": differ}
            found = {name: conclusion_of(sizes, data, seed=seed) for name, data in cases.items()}
            write_file(
                path,
                [
                    json.dumps(
                        plain({"settings": settings, "seed": seed, **found}), indent=1
                    ).encode()
                ],
            )
        parts.append(json.loads(path.read_bytes()))
        if parts[-1]["settings"] != settings:
            raise ValueError(
                f"{path} was made with other settings: remove it, or give another --out"
            )
    result = plain({**settings, "cases": {name: summary(name, parts) for name in RIGHT}})
    write_file(config.out / "sentence.json", [json.dumps(result, indent=1).encode()])
    print(table(result))
    return result


def summary(case: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the sentence was right in a case, and what it said on the average."""
    said = [part[case]["helps"] for part in parts]
    right = sum(helps == RIGHT[case] for helps in said)
    points = [100.0 * part[case]["over_population"][0] for part in parts]
    interval = binomtest(right, len(parts)).proportion_ci(0.95, "wilson")
    return {
        "seeds": len(parts),
        "right": right,
        "wilson": [interval.low, interval.high],
        "points": float(np.mean(points)),
        "nobody deviates": sum(part[case]["choice"]["rank"] == 1 for part in parts),
        "wrong seeds": [
            part["seed"] for part, helps in zip(parts, said, strict=True) if helps != RIGHT[case]
        ],
    }


def table(result: dict[str, Any]) -> str:
    """The shares, in Markdown."""
    lines = [
        "| users | the sentence says | of seeds | 95 % interval | points, mean | rank 1 chosen |",
        "|---|---|---|---|---|---|",
    ]
    for name, of in result["cases"].items():
        low, high = (100.0 * end for end in of["wilson"])
        lines.append(
            f"| {name} | {'yes' if RIGHT[name] else 'no'} | {of['right']} of {of['seeds']} | {low:.1f} to {high:.1f} % "
            f"| {of['points']:+.2f} | {of['nobody deviates']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(tyro.cli(Config, description=Config.__doc__))
