"""Accuracy against shots: every method on the same draws of the same users' comparisons.

    python -m experiments.shots_sweep CACHE --out RUN

CACHE is an embedding cache: `lore-jax embed` and `prepare` make one, and the experiments on
published data leave theirs in OUT/cache. On each split 30 % of the users and 30 % of the prompts
are new. Everything is fitted once a split; then shots are drawn `--draws` times, and every method
adapts to the same ones. The paper's few-shot curves have 20 draws.

A split is one file in RUN/parts: a run that was stopped goes on where it was. RUN/results.json,
tables.md and figures as in the other experiments; a draw is a data set of its own there, and draws
count equally.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import jax

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import applicable
from experiments.common.options import Options, cache_of, fits
from experiments.common.scorers import projected
from lore_jax.cli.arguments import POSITIONAL
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy
from lore_jax.evaluation.evaluate import conditions, evaluate
from lore_jax.evaluation.names import CONTROL_LABELS, GAUSSIAN, MISMATCHED_USER
from lore_jax.evaluation.results import (
    Where,
    describe_split,
    join,
    make_results,
    methods_of,
    write_results,
)
from lore_jax.evaluation.schema import Results
from lore_jax.reporting.figures import save_figures
from lore_jax.reporting.tables import shots_columns, table
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.files import write_file


@dataclasses.dataclass(frozen=True)
class Config:
    """Accuracy of unseen users on new prompts against the number of their comparisons.

    Attributes:
        out: where to write.
        cache: the embedded comparisons (not with --smoke).
        shots: numbers of comparisons.
        draws: how many times they are drawn.
        splits: how many times users and prompts are split.
        group_by: what a split does not cut.
        min_train: users with fewer pairs to draw from are dropped.
        rank: columns of the basis in the paper's objective.
        scale: what raw embeddings are multiplied by for it.
        seed: seed of everything.
        smoke: synthetic comparisons, and fits of a few steps.
    """

    out: Path
    cache: Annotated[Path | None, POSITIONAL] = None
    shots: tuple[int, ...] = (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50)
    draws: int = 20
    splits: int = 3
    group_by: GroupBy = "prompt"
    min_train: int = 1
    rank: int = 10
    scale: float = 1.0
    seed: int = 0
    smoke: bool = False


def evaluate_part(prefs: Preferences, config: Config, split: int) -> Results:
    """One split: fit once, adapt to every draw."""
    seed = config.seed + split
    drawn = lore.four_way(
        prefs, group_by=config.group_by, items=("new items",), min_train=config.min_train, seed=seed
    )
    options = Options(out=config.out, rank=config.rank, scale=config.scale, smoke=config.smoke)
    train = drawn.train.take_responses()
    methods, chosen = {}, {}
    for name, fit in applicable(fits(options, group_by=config.group_by), train).items():
        model, users, history = lore.fit(train, fit, key=jax.random.key(seed))
        methods[name], chosen[name] = projected(model, users, prefs.embeddings), history.choice
    unseen = [condition for condition in conditions(drawn) if condition.users == "unseen"]
    rows, entries = [], []
    for draw in range(config.draws):
        # Draws are of the same users and items: to the intervals they are splits, not data sets.
        number = split * config.draws + draw
        rows += evaluate(
            methods,
            unseen,
            shots=config.shots,
            group_by=config.group_by,
            split=number,
            seed=seed + 1000 * draw,
        )
        entries.append(
            describe_split(
                {"unseen": drawn.unseen_users},
                items=("new items",),
                group_by=config.group_by,
                digest=drawn.digest,
                chosen=chosen,
                dropped=drawn.dropped._asdict(),
                split=number,
            )
        )
    return make_results(rows, entries, name="shots", config=settings_of(config), seed=seed)


def settings_of(config: Config) -> dict[str, object]:
    """What changes a part's numbers."""
    paths_and_splits = ("cache", "out", "splits", "seed")
    cache = cache_of(config.cache, config.out, smoke=False)
    values = dataclasses.asdict(config)
    settings = {name: value for name, value in values.items() if name not in paths_and_splits}
    return {**settings, "encoder": read_manifest(cache)["encoder"]}


def run(config: Config) -> Results:
    """Makes the splits that are missing, then the tables."""
    cache = cache_of(config.cache, config.out, smoke=config.smoke)
    if config.cache is None:  # the synthetic ones are few
        config = dataclasses.replace(config, cache=cache, shots=(0, 2), draws=2, splits=1)
    prefs, settings = load_cache(cache), settings_of(config)

    def part(split: int) -> Part:
        entries = {"config": settings, "seed": config.seed + split}
        return Part(str(split), entries, lambda: evaluate_part(prefs, config, split))

    parts = [part(split) for split in range(config.splits)]
    results = join(run_parts(config.out / "parts", parts, description="splits"))
    lines = {name: Where(method=name, control=None) for name in methods_of(results)}
    for name in ("LoRe", GAUSSIAN):
        label = f"{name}, {CONTROL_LABELS[MISMATCHED_USER]}"
        lines[label] = Where(method=name, control=MISMATCHED_USER)
    text = (
        "# Accuracy against shots\n\n"
        "Unseen users, new items, accuracy in % with 95 % intervals (new users, new items); "
        f"{config.draws} draws, the same for every method.\n\n"
        f"{table(results, lines, shots_columns(results))}"
    )
    write_results(config.out / "results.json", results)
    write_file(config.out / "tables.md", [text.encode(), b"\n"])
    save_figures(results, config.out / "figures")
    print(text)
    return results


if __name__ == "__main__":
    command_line.main(run, Config)
