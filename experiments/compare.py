"""Every method of the field on the same splits: Polis votes, and populations of known making.

    python -m experiments.compare --data DIR --out RUN                    # votes and populations
    python -m experiments.compare --out RUN                               # populations alone
    python -m experiments.compare --data DIR --out RUN --methods gaussian lore --populations

DIR holds the folders of some Polis conversations and the embeddings of their statements, as for
`experiments.polis`, whose splits these are. Each conversation and each synthetic population
(`experiments.common.assumptions`: one for what each kind of method assumes) is a data set. Users
are split 70 : 30 into seen and unseen ones; two tests: new items and known items, each with fits of
its own. All methods of the roster (`lore_jax.fitting.roster`) have the same training pairs,
validation folds, draws of shots, and a budget of 30 seconds to choose and to fit on two cores,
which is set beside what they took.

Each (data set, test, split, method) is one file in RUN/polis/parts or RUN/synthetic/parts: a run
that was stopped goes on where it was, and one with more methods fits those alone. RUN/polis and
RUN/synthetic hold results.json, tables.md and figures; `lore-jax report RUN/polis/results.json
--out page.html` makes a page.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.common import command_line
from experiments.common.assumptions import (
    POPULATIONS,
    SMOKE_SIZES,
    Population,
    Sizes,
    draw_population,
)
from lore_jax.data.four_way import four_way, split_digest
from lore_jax.data.splits import Holdout, split_users
from lore_jax.datasets.polis.pairs import NOTE, polis_preferences
from lore_jax.datasets.polis.votes import PolisEmbeddings, Votes, load_polis_embeddings, read_polis
from lore_jax.datasets.sources import polis_embeddings_in_cache
from lore_jax.evaluation.comparison import ComparedSplit, ComparisonConfig, compared_split
from lore_jax.evaluation.evaluate import Condition
from lore_jax.evaluation.schema import FitEntry, Results
from lore_jax.fitting.roster import ROSTER, entries
from lore_jax.parallel.compilation_cache import keep_compiled_programs
from lore_jax.reporting.comparison_tables import comparison_markdown
from lore_jax.runs.comparison import ComparedTest, compared_test, run_comparison

_SMOKE = ComparisonConfig(shots=(0, 5), user_shares=(), smoke=True)


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares every method of the field on Polis votes and on synthetic populations.

    Attributes:
        out: where to write.
        data: the folder of the Polis conversations; None: populations alone.
        embeddings: a cache that has the statements, from `lore-jax embed` of their folders; None:
            the embeddings that lie in `data`.
        conversations: which of the folders to take; none: all.
        populations: which synthetic populations; `--populations` without a name: none.
        users: how many users each of them has, seen and unseen.
        methods: which methods of the roster; none: all.
        tests: items of the test pairs.
        splits: how many times users and items are split.
        user_shares: shares of the seen users to whom every method is fitted as well.
        seed: seed of everything.
        smoke: one small population, one test, and fits of a few steps, to see that all run.
    """

    out: Path
    data: Path | None = None
    embeddings: Path | None = None
    conversations: tuple[str, ...] = ()
    populations: tuple[Population, ...] = POPULATIONS
    users: int = Sizes.users
    methods: tuple[str, ...] = ()
    tests: tuple[Holdout, ...] = ("new items", "known items")
    splits: int = 1
    user_shares: tuple[float, ...] = (0.25, 0.5)
    seed: int = 0
    smoke: bool = False


def run(config: Config) -> dict[str, Results]:
    """Makes the parts that are missing and reports on all of them."""
    keep_compiled_programs()
    groups: dict[str, list[ComparedTest]] = {}
    if config.data is not None and not config.smoke:
        groups["polis"] = _polis_tests(config, config.data)
    if config.populations:
        groups["synthetic"] = _synthetic_tests(config)
    notes = {"polis": NOTE, "synthetic": "Synthetic populations."}
    if not groups:
        raise ValueError("there is nothing to compare on: --data or --populations is expected")
    results = {}
    for name, tests in groups.items():
        note = f"{notes[name]} FITS OF A FEW STEPS." if config.smoke else notes[name]
        out = config.out / name
        results[name] = run_comparison(out, tests, seed=config.seed, note=note)
        print(f"# {name}\n\n{comparison_markdown(results[name])}\n\nSaved in {out}")
    return results


def _synthetic_tests(config: Config) -> list[ComparedTest]:
    sizes = SMOKE_SIZES if config.smoke else Sizes(users=config.users)
    populations = config.populations[: 1 if config.smoke else None]

    def split(name: Population, items: Holdout, number: int) -> ComparedSplit:
        prefs = draw_population(name, sizes, seed=config.seed)
        four = four_way(prefs, group_by="prompt", items=(items,), seed=config.seed + number)
        return compared_split(four, items, None)._replace(folds_by="prompt")

    return [
        _test(config, name, items, number, split, about=sizes)
        for number in range(1 if config.smoke else config.splits)
        # Every method can be fitted for items that others have judged.
        for items in (("known items",) if config.smoke else config.tests)
        for name in populations
    ]


def _polis_tests(config: Config, root: Path) -> list[ComparedTest]:
    names = config.conversations or tuple(
        sorted(path.parent.name for path in root.glob("*/comments.csv"))
    )
    conversations = {name: read_polis(root / name) for name in names}
    if config.embeddings is None:
        embeddings = load_polis_embeddings(root)
    else:
        embeddings = polis_embeddings_in_cache(config.embeddings, list(conversations.values()))

    def split(name: str, items: Holdout, number: int) -> ComparedSplit:
        return polis_split(conversations[name], embeddings, items, seed=config.seed + number)

    return [
        _test(config, name, items, number, split, about=embeddings.encoder)
        for number in range(config.splits)
        for items in config.tests
        for name in names
    ]


def polis_split(
    votes: Votes, embeddings: PolisEmbeddings, items: Holdout, *, seed: int
) -> ComparedSplit:
    """The split of `experiments.polis`."""
    table = embeddings.of(votes).astype(np.float32)
    pairs = polis_preferences(votes, table, test=items, split_seed=seed, fold=None)
    seen, unseen = split_users(pairs.train.num_users, 0.3, seed=seed)
    train, shots = pairs.train.take_users(seen), pairs.train.take_users(unseen)
    return ComparedSplit(
        train,
        [
            Condition("unseen", items, shots, pairs.test.take_users(unseen)),
            Condition("seen", items, train, pairs.test.take_users(seen)),
        ],
        items,
        "response",
        {"seen": np.asarray(train.user_ids), "unseen": np.asarray(shots.user_ids)},
        split_digest([seen, unseen], [pairs.train, pairs.test]),
        {"users": pairs.num_dropped_users, "cross_split": pairs.num_cross_split},
        folds_by="response",
    )


def _test(
    config: Config,
    name: str,
    items: Holdout,
    number: int,
    split: Callable[..., ComparedSplit],
    *,
    about: object,
) -> ComparedTest:
    """One data set, test and split."""
    comparison = ComparisonConfig(user_shares=config.user_shares)
    return compared_test(
        entries(config.methods or ROSTER),
        lambda: split(name, items, number),
        _SMOKE if config.smoke else comparison,
        data=name,
        items=items,
        number=number,
        seed=config.seed + number,
        about=about,
        announce=_announce,
    )


def _announce(fit: FitEntry) -> None:
    about = f"{fit['data']}, {fit['items']}, {fit['method']}, {fit['users']:,} users"
    done = fit["note"] or f"{fit['seconds']:.1f} s, {fit['compile_seconds']:.1f} s of compiling"
    print(f"{about}: {done}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.main(run, Config)
