"""False-yes rate, power and coverage of the conclusion, on synthetic data with known ground truth.

    python -m experiments.conclusion_rates --out RUN [--populations 100] [--only CASE ...]

Each case is a kind of population (`experiments.common.populations`) and what is seen of it. Every
population goes through everything a user of the library would do: rank, ridges, components and the
rest chosen on validation folds, the fit, adapting the unseen users, the rows with their controls,
the conclusion. 100 seen users give 20 pairs each to the fit; unseen users give 20 shots and are
tested on 20 pairs over prompts that are new to everybody. Three questions:

- *False yes.* Where users agree (*no difference*), where their pairs are dealt out among them at
  random (*shuffled*), and where they agree but are asked about different topics (*topics*, *topic
  mixes*, *topic offsets*), the conclusion should be no.
- *Power.* Where users differ so much that somebody who knows basis and population gains 1, 2 or 3
  points of accuracy with 20 shots (found by bisection), it should be yes. The fit has to learn
  both. With 50, 100 and 500 unseen users.
- *Coverage.* The 95 % interval of the accuracy gained should hold what the same fits gain on 2,000
  fresh users and 2,000 fresh prompts, the mean over the splits.

A yes where users are confounded with topics is false even where shots do gain: what they tell is
the topic, and not the user. The table says how often the donor control alone stopped it.

Measured: no false yes in 400 populations of *no difference* and of *topics*, 180 of *topic
offsets*, 140 of *shuffled*, 52 and 47 of five splits; one in 400 of *topic mixes*. The donor
control alone stopped it in 121 *topics* and 18 *topic mixes*, and in 39 of 47 *topics* of five
splits. Yes to 3, 2 and 1 points in 85, 63 and 16 of 100 with 50 unseen users, in 100, 85 and 39
with 100, in 100, 97 and 78 with 500; the fits gain 1.9, 1.0 and 0.3 points. Intervals held the
truth in 2,321 of 2,379.

Time: some 2 seconds of CPU a population of one split, 8 of five splits, after two minutes of
compiling; --smoke a minute. Each population of a case is one file in RUN/parts: a run that was
stopped goes on where it was. RUN/conclusion_rates.json holds the rates with their Wilson intervals.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int
from scipy.stats import binomtest

import lore_jax as lore
from experiments.common import command_line
from experiments.common import populations as simulated
from experiments.common.fits import population_model
from experiments.common.populations import Items, Kind, Sizes, Tastes
from lore_jax.data.four_way import split_digest
from lore_jax.evaluation.conclusion import conclude
from lore_jax.evaluation.controls import permute_users
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.names import GAUSSIAN, MISMATCHED_USER
from lore_jax.evaluation.results import Where, describe_split, make_results, plain
from lore_jax.evaluation.schema import Results, Row, SplitEntry
from lore_jax.methods.base import BasisPredictor
from lore_jax.reporting.tables import markdown
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file

_JUDGED = 70  # prompts of each user: every split finds enough known and new ones among them


@dataclasses.dataclass(frozen=True)
class Case:
    """A kind of population, and what is seen of it.

    Attributes:
        kind: how users answer.
        points: what shots gain for the oracle, where users differ.
        unseen: how many unseen users.
        splits: how many splits of the same data.
        shuffled: pairs are dealt out among users at random, in each part by itself.
    """

    kind: Kind = "alike"
    points: float = 0.0
    unseen: int = 100
    splits: int = 1
    shuffled: bool = False

    @property
    def helps(self) -> bool:
        """The ground truth: whether users differ."""
        return self.points > 0 and not self.shuffled


CASES: dict[str, Case] = {
    "no difference": Case(),
    "no difference, 5 splits": Case(splits=5),
    "shuffled": Case("differ", points=3.0, shuffled=True),
    "topics": Case("topics"),
    "topics, 5 splits": Case("topics", splits=5),
    "topic mixes": Case("mixes"),
    "topic offsets": Case("offsets"),
    "2 points, 100 users, 5 splits": Case("differ", points=2.0, splits=5),
    **{
        f"{points} point{'s' * (points > 1)}, {unseen} users": Case("differ", points, unseen)
        for points in (1, 2, 3)
        for unseen in (50, 100, 500)
    },
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Counts how often the conclusion is right where it is known whether personalising helps.

    Attributes:
        out: where to write.
        populations: how many of each case.
        first: the seed of the first of them.
        only: names of the cases to simulate; none: all.
        smoke: two small populations of two cases, nothing chosen on validation, to see that
            everything runs.
    """

    out: Path
    populations: int = 100
    first: int = 0
    only: tuple[str, ...] = ()
    smoke: bool = False


class Data(NamedTuple):
    """The pairs of a split: of the seen users to fit, of the unseen to adapt and to test on."""

    train: lore.Preferences
    shots: lore.Preferences
    test: lore.Preferences


def split_of(
    sizes: Sizes, case: Case, prefs: lore.Preferences, topic: Int[np.ndarray, " prompts"], seed: int
) -> tuple[Data, Int[np.ndarray, " prompts"], Int[np.ndarray, " users"]]:
    """Half of the prompts of each topic are known; returns them and the unseen users too."""
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(topic == t)) for t in (0, 1)])
    known = np.sort(order[::2])
    is_known = np.isin(prefs.prompt, known)
    users = rng.permutation(prefs.num_users)
    seen, unseen = users[: sizes.seen], users[sizes.seen :]
    old, new = prefs.take_pairs(is_known), prefs.take_pairs(~is_known)
    train = lore.draw_shots(old.take_users(seen), sizes.pairs, seed=seed)
    shots = lore.draw_shots(old.take_users(unseen), sizes.shots, seed=seed)
    test = lore.draw_shots(new.take_users(unseen), sizes.tests, seed=seed)
    if case.kind == "mixes":
        train, shots = thinned(train, seed=seed), thinned(shots, seed=seed)
    if case.shuffled:
        parts = enumerate((train, shots, test))
        train, shots, test = (permute_users(part, seed=seed + number) for number, part in parts)
    return Data(train, shots, test), known, unseen


def thinned(prefs: lore.Preferences, *, seed: int) -> lore.Preferences:
    """Half of the users with half of their pairs."""
    most = int(prefs.pairs_per_user().max())
    few = lore.draw_shots(prefs, most // 2, seed=seed)
    keep = (prefs.user >= prefs.num_users // 2) | np.isin(prefs.row, few.row)
    return prefs.take_pairs(keep)


def true_gain(
    sizes: Sizes, case: Case, tastes: Tastes, items: Items, known: np.ndarray, model: lore.Model
) -> float:
    """What a fit's shots gain on fresh users and fresh prompts, in expected accuracy."""
    rng = np.random.default_rng(0)
    fresh = simulated.draw_items(sizes, case.kind, sizes.fresh, rng)
    weights, share = simulated.draw_users(case.kind, tastes, sizes.fresh, rng)
    shots = simulated.ask(items, weights, share, known, sizes.shots, rng).prefs
    if case.kind == "mixes":
        shots = thinned(shots, seed=0)
    test = simulated.ask(fresh, weights, share, np.arange(sizes.fresh), 10, rng)
    return simulated.gain_of(model, shots, test)


def evaluate_part(
    sizes: Sizes, case: Case, fit: lore.FitConfig, spread: float, *, seed: int
) -> Results:
    """One population of a case: its conclusion, and the true gain of its fits."""
    rng = np.random.default_rng(seed)
    tastes = simulated.draw_tastes(sizes, case.kind, spread, rng)
    items = simulated.draw_items(sizes, case.kind, sizes.prompts, rng)
    weights, share = simulated.draw_users(case.kind, tastes, sizes.seen + case.unseen, rng)
    judged = min(_JUDGED, sizes.prompts // 2)
    prefs = simulated.ask(items, weights, share, np.arange(sizes.prompts), judged, rng).prefs
    rows: list[Row] = []
    entries: list[SplitEntry] = []
    gains, kept = [], 0
    for split in range(case.splits):
        data, known, unseen = split_of(sizes, case, prefs, items.topic, seed=1000 * seed + split)
        model, users, _ = lore.fit(data.train, fit, key=jax.random.key(seed))
        rows += evaluate(
            {GAUSSIAN: BasisPredictor(model, users)},
            [Condition("unseen", "new items", data.shots, data.test)],
            shots=(0, sizes.shots),
            split=split,
            seed=seed,
        )
        entries.append(
            describe_split(
                {"unseen": unseen},
                items=("new items",),
                group_by="prompt",
                digest=split_digest([], [*data]),
                split=split,
            )
        )
        kept += model.rank == 1
        gains.append(true_gain(sizes, case, tastes, items, known, model))
    about = {"name": "conclusion_rates", "config": sizes, "seed": seed}
    where = Where("unseen", "new items", GAUSSIAN, shots=sizes.shots)
    conclusion = conclude(make_results(rows, entries, **about), where)
    # Of permuted users there are no fresh ones.
    truth = None if case.shuffled else float(np.mean(gains))
    measured = {"conclusion": conclusion, "truth": truth, "rank 1": kept}
    return make_results([], [], **about, measured=measured)


def run(config: Config) -> dict[str, Any]:
    """Makes the populations that are missing, then the rates over all of them."""
    sizes, cases, count = Sizes(), CASES, config.populations
    fit = population_model(group_by=None, smoke=config.smoke)
    if config.smoke:
        sizes = Sizes(seen=20, prompts=80, pairs=8, shots=8, tests=8, fresh=50)
        cases = {"topics": Case("topics", unseen=20), "2 splits": Case("differ", 3.0, 20, 2)}
        count = 2
    if unknown := [name for name in config.only if name not in cases]:
        raise ValueError(f"only names {unknown[0]!r}: one of {', '.join(cases)} is expected")
    chosen = {name: cases[name] for name in config.only or cases}

    @functools.cache
    def spread_of(points: float) -> float:  # of no population that is measured
        return simulated.find_spread(sizes, points / 100.0, seed=2**31 - 1) if points else 0.0

    def part(name: str, seed: int) -> Part:
        case = cases[name]
        settings = {"sizes": sizes, "case": case, "fit": fit, "spread": spread_of(case.points)}

        def make() -> Results:
            return evaluate_part(sizes, case, fit, spread_of(case.points), seed=seed)

        slug = name.replace(",", "").replace(" ", "-")
        return Part(f"{slug}-{seed}", {"config": settings, "seed": seed}, make)

    seeds = range(config.first, config.first + count)
    parts = [part(name, seed) for name in chosen for seed in seeds]
    results = run_parts(config.out / "parts", parts, description="populations")
    summaries = {
        name: summary(case, results[number * count : (number + 1) * count])
        for number, (name, case) in enumerate(chosen.items())
    }
    result = plain({"sizes": sizes, "cases": summaries})
    write_file(config.out / "conclusion_rates.json", [json.dumps(result, indent=1).encode()])
    print(table(result))
    return result


def summary(case: Case, parts: list[Results]) -> dict[str, object]:
    """How often the conclusion was yes, and how often its interval held the truth."""
    measured = [part["measured"] for part in parts]
    conclusions = [entry["conclusion"] for entry in measured]
    yes = sum(conclusion["helps"] for conclusion in conclusions)

    def passed(conclusion: dict[str, Any]) -> bool:  # all but the donor control
        saved, better = conclusion["log_loss"], conclusion["over_population"][2] > 0
        surely = conclusion["first_step"][1] > 0 and saved[MISMATCHED_USER][1] > 0
        return surely and saved["population"][0] > 0 and better

    covered = []
    for entry in measured:
        _, low, high = entry["conclusion"]["over_population"]
        if entry["truth"] is not None:
            # Stored numbers have six digits.
            covered.append(low - 1e-6 <= entry["truth"] <= high + 1e-6)
    return {
        "helps": case.helps,
        "populations": len(parts),
        "yes": yes,
        "yes, Wilson": _wilson(yes, len(parts)),
        "stopped by the donor": sum(map(passed, conclusions)) - yes,
        "kept at the population": sum(entry["same_as_population"] for entry in conclusions),
        "points": 100.0 * float(np.mean([entry["over_population"][0] for entry in conclusions])),
        "truth": 100.0 * float(np.mean([entry["truth"] or 0.0 for entry in measured])),
        "would show": 100.0 * float(np.median([entry["would_show"] for entry in conclusions])),
        "held": sum(covered) if covered else None,
        "held, Wilson": _wilson(sum(covered), len(covered)) if covered else None,
    }


def _wilson(count: int, total: int) -> list[float]:
    interval = binomtest(count, total).proportion_ci(0.95, "wilson")
    return [interval.low, interval.high]


def table(result: dict[str, Any]) -> str:
    """The rates, in Markdown; gains in points."""
    head = ["case", "right to say", "yes", "Wilson, %", "stopped by the donor"]
    head += ["kept at the population", "measured", "true", "would show", "interval held", "Wilson"]
    lines = [head]
    for name, case in result["cases"].items():
        held = ["", ""]
        if case["held"] is not None:
            held = [str(case["held"]), _show(case["held, Wilson"])]
        gains = [f"{case[key]:+.2f}" for key in ("points", "truth")]
        lines.append(
            [
                name,
                "yes" if case["helps"] else "no",
                f"{case['yes']} of {case['populations']}",
                _show(case["yes, Wilson"]),
                str(case["stopped by the donor"]),
                str(case["kept at the population"]),
                *gains,
                f"{case['would show']:.1f}",
                *held,
            ]
        )
    return markdown(lines)


def _show(interval: list[float]) -> str:
    low, high = (100.0 * end for end in interval)
    return f"{low:.0f} to {high:.0f}"


if __name__ == "__main__":
    command_line.main(run, Config)
