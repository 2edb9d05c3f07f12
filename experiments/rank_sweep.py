"""Accuracy against rank: every rank on every split in one compiled program for each family.

    python -m experiments.rank_sweep CACHE --out RUN

CACHE is an embedding cache: `lore-jax embed` and `prepare` make one, and the experiments on
published data leave theirs in OUT/cache. On each split 30 % of the users and 30 % of the prompts
are new; a rank is a mask of columns, so that ranks and splits are runs of one program. The simplex
family is the paper's objective; the gaussian one takes the ridges that validation chose on the
first split, for all ranks. Seen users are adapted to from all of their training pairs, unseen users
from `--shots`.

Time: (ranks x splits x 2) fits of the largest rank, and one compilation a family.
RUN/rank_sweep.json has every number, RUN/rank_sweep.md the table, RUN/rank_sweep.png the figure.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import jax
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from experiments.common.options import cache_of
from lore_jax.cli.arguments import POSITIONAL
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, draw_shots, hold_out_groups, split_users
from lore_jax.evaluation.results import plain
from lore_jax.fitting.selection import choose
from lore_jax.fitting.validation import place_for_sweeps, sweep
from lore_jax.methods.base import AnyMethod, Choice, Stage
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.reporting.tables import markdown
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.files import write_file

USERS = ("seen users", "unseen users")


@dataclasses.dataclass(frozen=True)
class Config:
    """Accuracy on new prompts against the rank of the basis.

    Attributes:
        out: where to write.
        cache: the embedded comparisons (not with --smoke).
        ranks: the ranks; the largest decides the memory.
        splits: how many times users and prompts are split.
        shots: pairs of an unseen user.
        group_by: what a split does not cut.
        steps: Adam steps of the paper's objective.
        scale: what raw embeddings are multiplied by for it.
        seed: seed of everything.
        smoke: synthetic comparisons, two ranks and a few steps.
    """

    out: Path
    cache: Annotated[Path | None, POSITIONAL] = None
    ranks: tuple[int, ...] = (1, 2, 3, 5, 8, 10, 15, 20)
    splits: int = 3
    shots: int = 20
    group_by: GroupBy = "prompt"
    steps: int = 1000
    scale: float = 1.0
    seed: int = 0
    smoke: bool = False


def roles(prefs: Preferences, config: Config) -> dict[str, np.ndarray]:
    """What each pair does in each run, `[runs, pairs]`.

    Runs 2s and 2s + 1 are split s, tested on seen and on unseen users.
    """
    parts: dict[str, list[np.ndarray]] = {"fit": [], "shots": [], "test": []}
    for split in range(config.splits):
        seed = config.seed + split
        is_seen = np.isin(prefs.user, split_users(prefs.num_users, 0.3, seed=seed)[0])
        cut = hold_out_groups(prefs, 0.3, group_by=config.group_by, seed=seed)
        numbered = dataclasses.replace(prefs, row=np.arange(prefs.num_pairs))
        unseen = numbered.take_pairs(np.flatnonzero(cut.train & ~is_seen))
        shots = draw_shots(unseen, config.shots, seed=seed)
        known = (cut.train & is_seen) | np.isin(np.arange(prefs.num_pairs), shots.row)
        for tested in (is_seen, ~is_seen):
            parts["fit"].append(prefs.pair_weight * (cut.train & is_seen))
            parts["shots"].append(prefs.pair_weight * known)
            parts["test"].append((cut.test & tested).astype(np.float32))
    return {name: np.stack(rows).astype(np.float32) for name, rows in parts.items()}


def run(config: Config) -> dict[str, np.ndarray]:
    """Accuracies of each family, `[ranks, splits, 2]`, in shares of 1."""
    cache = cache_of(config.cache, config.out, smoke=config.smoke)
    config = dataclasses.replace(config, cache=cache)
    if config.smoke:
        config = dataclasses.replace(config, ranks=(1, 2), splits=1, shots=2, steps=5)
    prefs = load_cache(cache)
    work, ranks = roles(prefs, config), sorted(rank for rank in config.ranks if rank <= prefs.dim)
    key = jax.random.key(config.seed)

    def accuracy_of(name: str, method: AnyMethod, choices: list[Choice]) -> np.ndarray:
        stage, placed = Stage(name, method, ()), place_for_sweeps(prefs, method)
        table = sweep(placed, stage, choices, work, key=key, spare=False)
        return table.accuracy.reshape(len(ranks), config.splits, 2)

    simplex = SimplexConfig(scale=config.scale, steps=config.steps)
    # Given at once: these are not varied after a fit.
    population = PopulationConfig(
        item_effects=0.0, item_effects_deviation=0.0, num_components=0, logit_scale=1.0
    )
    first = prefs.take_pairs(work["fit"][0] > 0).take_responses()
    if config.smoke:
        population = dataclasses.replace(
            population, rank=2, ridge_population=3.0, ridge_deviation=3.0, steps=5
        )
    fit = lore.FitConfig(population, group_by=config.group_by)
    chosen, _ = choose(first, fit, key=key)
    accuracy = {
        "LoRe, the paper's objective": accuracy_of(
            "simplex", simplex, [{"rank": rank} for rank in ranks]
        ),
        "gaussian": accuracy_of(
            "gaussian", population, [{**chosen, "rank": rank} for rank in ranks]
        ),
    }
    return report(config, ranks, accuracy, chosen)


def report(
    config: Config, ranks: list[int], accuracy: dict[str, np.ndarray], chosen: Choice
) -> dict[str, np.ndarray]:
    """Writes the numbers, the table and the figure."""
    lines = [["accuracy in %, mean (lowest to highest split)", *(f"rank {k}" for k in ranks)]]
    series = {}
    for name, values in accuracy.items():
        for number, users in enumerate(USERS):
            percent = series[f"{name}, {users}"] = 100 * values[:, :, number]
            ranges = [f"{row.mean():.1f} ({row.min():.1f} to {row.max():.1f})" for row in percent]
            lines.append([f"{name}, {users}", *ranges])
    text = (
        f"# Accuracy against rank\n\n{markdown(lines)}\n\nRidges of the gaussian family: {chosen}."
    )
    config.out.mkdir(parents=True, exist_ok=True)
    content = {
        "config": config,
        "cache": read_manifest(cache_of(config.cache, config.out, smoke=False))["encoder"],
        "versions": {"jax": jax.__version__, "device": jax.devices()[0].device_kind},
        "ranks": ranks,
        "chosen": chosen,
        "accuracy": accuracy,
    }
    write_file(config.out / "rank_sweep.json", [json.dumps(plain(content)).encode()])
    write_file(config.out / "rank_sweep.md", [text.encode(), b"\n"])
    note = f"{config.splits} splits; band: lowest to highest"
    curves(config.out / "rank_sweep.png", ranks, series, note)
    print(text)
    return accuracy


def curves(path: Path, ranks: list[int], series: dict[str, np.ndarray], note: str) -> None:
    """Draws accuracies `[ranks, splits]` in %, their mean as a line and their range as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(series.items()):
        (line,) = axes.plot(ranks, values.mean(axis=1), marker="osD^vP"[number % 6], label=name)
        axes.fill_between(
            ranks,
            values.min(axis=1),
            values.max(axis=1),
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.set(xlabel="rank of the basis", ylabel="accuracy, %", title=note)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    command_line.main(run, Config)
