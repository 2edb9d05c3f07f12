"""Abstention on real votes: which personal margins are sure of their sign, and what does falling
back cost?

    python -m experiments.abstention --data DIR --out RUN      (three splits: about 8 minutes on one CPU core; --smoke)

One Polis conversation, by default the one where people differ most (`experiments.polis` says what
the data are, and how they are split and fitted). Unseen voters give some pairs; for every test pair
the 90 % interval of the margin is either on one side of zero or not. Where it is not,
`Margins.or_population` takes what holds for everybody. The table says how often that happens, how
right the personal margins are on both kinds of pairs, and what falling back does to accuracy.

Expected, 20 shots: unseen statements, 63 % of the pairs fall back, accuracy 73.5 becomes 65.3; seen
statements, 40 %, 90.0 becomes 85.8. Sure margins are right in 84.7 and 97.0 %.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from tqdm import tqdm

import lore_jax as lore
from experiments.polis import make_conversations, protocol
from lore_jax.data.splits import Holdout, split_users
from lore_jax.datasets.polis.pairs import polis_preferences
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.evaluation import metrics
from lore_jax.evaluation.results import plain
from lore_jax.storage.files import write_file
from lore_jax.users.predict import Margins

LAND_BANK = "ssis.land-bank-farmland.2rumnecbeh.2021-08-01"
Measured = dict[str, list[np.ndarray]]  # name of a number to its per-user values, an array a split


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures what falling back to the population does on one Polis conversation.

    Attributes:
        out: where to write.
        data: the folder of the conversations (not with --smoke).
        conversation: which of them.
        splits: how many times statements and voters are split.
        shots: numbers of pairs that unseen voters give.
        level: of the intervals.
        smoke: a made-up conversation, one split, and fits of a few steps, to see that everything
            runs.
    """

    out: Path
    data: Path | None = None
    conversation: str = LAND_BANK
    splits: int = 3
    shots: tuple[int, ...] = (5, 10, 20, 40)
    level: float = 0.9
    smoke: bool = False


def measure(
    config: Config, root: Path, conversation: str, test: Holdout, seed: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """One split: fit, then per-user numbers after each number of shots."""
    asked, votes = protocol(test, smoke=config.smoke), read_polis(root / conversation)
    table = load_polis_embeddings(root).of(votes).astype(np.float32)
    drawn = polis_preferences(votes, table, test=test, split_seed=seed, **asked.limits)
    seen, unseen = split_users(drawn.train.num_users, 0.3, seed=seed)
    model, *_ = lore.fit(
        drawn.train.take_users(seen), asked.fits["gaussian"], key=jax.random.key(seed)
    )
    known, pairs = drawn.train.take_users(unseen), drawn.test.take_users(unseen)
    nobody = lore.margins(model, lore.population_posterior(model, len(unseen)), pairs)
    for shots in config.shots:
        own = lore.margins(
            model, lore.adapt(model, lore.draw_shots(known, shots, seed=seed)), pairs
        )
        sure = own.decided(config.level)

        def per_user(values: np.ndarray, of: np.ndarray) -> np.ndarray:
            return metrics.per_user_mean(values[of], pairs.user[of], pairs.num_users)

        def accuracy(margins: Margins, of: np.ndarray) -> np.ndarray:
            return per_user(metrics.correct(margins.mean), of)

        every = np.ones(len(sure), bool)
        yield (
            shots,
            {
                "voters": np.asarray(pairs.user_ids),
                "fell back": per_user(~sure, every),
                "personal": accuracy(own, every),
                "with falling back": accuracy(own.or_population(nobody, config.level), every),
                "population": accuracy(nobody, every),
                "personal, sure": accuracy(own, sure),
                "personal, not sure": accuracy(own, ~sure),
                "population, not sure": accuracy(nobody, ~sure),
            },
        )


def run(config: Config) -> dict[str, Any]:
    """All splits of both tests, then the table."""
    root = make_conversations(config.out / "data", seed=0) if config.smoke else config.data
    if root is None or not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder: --data must name the folder of the Polis conversations"
        )
    config.out.mkdir(parents=True, exist_ok=True)
    conversation = "one" if config.smoke else config.conversation
    found: dict[tuple[Holdout, int], Measured] = {}
    tests: tuple[Holdout, ...] = ("new items", "known items")
    splits = 1 if config.smoke else config.splits
    todo: list[tuple[Holdout, int]] = [(test, split) for test in tests for split in range(splits)]
    for test, split in tqdm(todo, desc="tests x splits", disable=None):
        for shots, numbers in measure(config, root, conversation, test, split):
            numbers["cost"] = numbers["with falling back"] - numbers["personal"]
            of = found.setdefault((test, shots), {})
            for name, values in numbers.items():
                of.setdefault(name, []).append(values)
    rng = np.random.default_rng(0)
    rows = [
        {
            "test": test,
            "shots": shots,
            # A voter may be unseen in several splits, and is one person all the same.
            **{
                name: metrics.bootstrap(of[name], rng, users=of["voters"]).interval()
                for name in of
                if name != "voters"
            },
        }
        for (test, shots), of in found.items()
    ]
    result = plain({"config": config, "rows": rows})
    write_file(config.out / "abstention.json", [json.dumps(result, indent=1).encode()])
    print(table(result))
    return result


def table(result: dict[str, Any]) -> str:
    """In Markdown; %, macro over users, the mean over splits."""
    names = [name for name in result["rows"][0] if name not in ("test", "shots")]
    lines = [f"| statements | shots | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in result["rows"]:
        means = [row[name]["mean"] for name in names[:-1]]
        conditions = [
            "" if mean is None else f"{100 * mean:.1f}" for mean in means
        ]  # nothing may be sure
        cost = [100 * row["cost"][end] for end in ("mean", "low", "high")]
        conditions.append("{:+.1f} ({:.1f} to {:.1f})".format(*cost))
        lines.append(f"| {row['test']} | {row['shots']} | {' | '.join(conditions)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(tyro.cli(Config, description=Config.__doc__))
