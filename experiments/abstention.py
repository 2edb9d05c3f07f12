"""Abstention on real votes: which margins are sure of their sign, and what does falling back cost?

    python -m experiments.abstention --data DIR --out RUN

One Polis conversation, by default the one where people differ most (`experiments.polis` says what
the data are, and how they are split and fitted). Unseen voters give some pairs; for every test pair
the 90 % interval of the margin is either on one side of zero or not. Where it is not,
`Margins.or_population` takes what holds for everybody. The table says how often that happens, how
right the personal margins are on both kinds of pairs, and what falling back does to accuracy.

Time: three splits take about 8 minutes on one CPU core. Each (test, split) is one file in
RUN/parts: a run that was stopped goes on where it was.

Expected, 20 shots: new statements, 63 % of the pairs fall back, accuracy 73.5 becomes 65.3; known
statements, 40 %, 90.0 becomes 85.8. Sure margins are right in 84.7 and 97.0 %.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from experiments.polis import PolisProtocol, data_folder, polis_protocol
from lore_jax.data.splits import Holdout, split_users
from lore_jax.datasets.polis.pairs import polis_preferences
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.evaluation import metrics
from lore_jax.evaluation.intervals import Sample, estimate
from lore_jax.evaluation.results import make_results, plain
from lore_jax.evaluation.schema import Results
from lore_jax.reporting.tables import markdown
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file
from lore_jax.users.predict import Margins

LAND_BANK = "ssis.land-bank-farmland.2rumnecbeh.2021-08-01"
TESTS: tuple[Holdout, ...] = ("new items", "known items")


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
        smoke: a synthetic conversation, one split, and fits of a few steps, to see that everything
            runs.
    """

    out: Path
    data: Path | None = None
    conversation: str = LAND_BANK
    splits: int = 3
    shots: tuple[int, ...] = (5, 10, 20, 40)
    level: float = 0.9
    smoke: bool = False


def evaluate_part(
    config: Config, protocol: PolisProtocol, folder: Path, test: Holdout, split: int
) -> Results:
    """One split: fit, then numbers of each voter after each number of shots."""
    votes, embeddings = read_polis(folder), load_polis_embeddings(folder.parent)
    table = embeddings.of(votes).astype(np.float32)
    drawn = polis_preferences(
        votes, table, test=test, split_seed=split, fold=None, **protocol.limits
    )
    seen, unseen = split_users(drawn.train.num_users, 0.3, seed=split)
    train, known = drawn.train.take_users(seen), drawn.train.take_users(unseen)
    model, *_ = lore.fit(train, protocol.fits["gaussian"], key=jax.random.key(split))
    pairs = drawn.test.take_users(unseen)
    population = lore.margins(model, lore.population_posterior(model, len(unseen)), pairs)
    measured = {}
    for shots in config.shots:
        posterior = lore.adapt(model, lore.draw_shots(known, shots, seed=split))
        personal = lore.margins(model, posterior, pairs)
        measured[shots] = measure(personal, population, pairs, config.level)
    return make_results(
        [],
        [],
        name="abstention",
        config=settings_of(config, protocol),
        seed=split,
        measured={"voters": np.asarray(pairs.user_ids), "after": measured},
    )


def measure(
    personal: Margins, population: Margins, pairs: lore.Preferences, level: float
) -> dict[str, np.ndarray]:
    """What each voter's margins are worth, `[voters]` each; NaN where a voter has no such pair."""
    sure = personal.decided(level)
    fallback = personal.or_population(population, level)

    def per_user(values: np.ndarray, use: np.ndarray) -> np.ndarray:
        return metrics.per_user_mean(values[use], pairs.user[use], pairs.num_users)

    def accuracy(margins: Margins, use: np.ndarray) -> np.ndarray:
        return per_user(metrics.correct(margins.mean), use)

    every = np.ones(len(sure), bool)
    return {
        "fell back": per_user(~sure, every),
        "personal": accuracy(personal, every),
        "with falling back": accuracy(fallback, every),
        "population": accuracy(population, every),
        "personal, sure": accuracy(personal, sure),
        "personal, not sure": accuracy(personal, ~sure),
        "population, not sure": accuracy(population, ~sure),
        "cost": accuracy(fallback, every) - accuracy(personal, every),
    }


def settings_of(config: Config, protocol: PolisProtocol) -> dict[str, object]:
    """What changes a part's numbers."""
    return {
        "conversation": config.conversation,
        "shots": config.shots,
        "level": config.level,
        "fit": protocol.fits["gaussian"],
    }


def run(config: Config) -> dict[str, Any]:
    """Makes the parts that are missing, then the table."""
    root = data_folder(config.data, config.out, smoke=config.smoke)
    folder = root / ("one" if config.smoke else config.conversation)

    def part(test: Holdout, split: int) -> Part:
        protocol = polis_protocol(test, smoke=config.smoke)
        settings = {"config": settings_of(config, protocol), "seed": split}

        def make() -> Results:
            return evaluate_part(config, protocol, folder, test, split)

        return Part(f"{test.replace(' ', '-')}-{split}", settings, make)

    splits = 1 if config.smoke else config.splits
    parts = [part(test, split) for test in TESTS for split in range(splits)]
    results = run_parts(config.out / "parts", parts, description="tests x splits")
    rows = []
    for number, test in enumerate(TESTS):
        of_test = results[number * splits : (number + 1) * splits]
        # A voter may be unseen in several splits, and is one person all the same.
        voters = [np.array(part["measured"]["voters"]) for part in of_test]
        for shots in config.shots:
            row: dict[str, Any] = {"test": test, "shots": shots}
            for name in of_test[0]["measured"]["after"][str(shots)]:
                values = [
                    np.array(part["measured"]["after"][str(shots)][name], np.float64)
                    for part in of_test
                ]
                row[name] = estimate(list(map(Sample, voters, values))).interval()
            rows.append(row)
    result = plain({"config": config, "rows": rows})
    write_file(config.out / "abstention.json", [json.dumps(result, indent=1).encode()])
    print(table(result))
    return result


def table(result: dict[str, Any]) -> str:
    """The numbers in Markdown; %, macro over users, the mean over splits; intervals: new users."""
    names = [name for name in result["rows"][0] if name not in ("test", "shots")]
    lines = [["statements", "shots", *names]]
    for row in result["rows"]:
        means = [row[name]["mean"] for name in names if name != "cost"]
        line = ["" if mean is None else f"{100 * mean:.1f}" for mean in means]  # nothing is sure
        cost, low, high = (100 * row["cost"][end] for end in ("mean", "low", "high"))
        line.append(f"{cost:+.1f} ({low:.1f} to {high:.1f})")
        lines.append([row["test"].removesuffix(" items"), str(row["shots"]), *line])
    return markdown(lines)


if __name__ == "__main__":
    command_line.main(run, Config)
