"""`lore-jax compare`: every method of the field on the same splits of a cache."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.data.splits import GroupBy, Holdout
from lore_jax.evaluation.comparison import ComparisonConfig

if TYPE_CHECKING:
    from lore_jax.evaluation.schema import FitEntry

_MOST_SPLITS = 1000


@dataclasses.dataclass(frozen=True)
class Config:
    """Fits every method of the field to the same pairs and tests it on the same users and items.

    All choose their settings on the same validation folds and are given the same shots. A table
    has accuracy, log loss, calibration, the bottom decile and what each method costs; beside it
    stand paired differences to the population model, with intervals for new users and items. A
    method that cannot run on the data says why. The same command goes on where it was stopped, and
    with more methods it fits those alone; `lore-jax report OUT/results.json --out page.html` makes
    a page of it.

    Attributes:
        cache: the cache.
        out: folder for results.json, tables.md, figures and the parts they are made of.
        methods: which methods, by name (a name that is not there lists them); None: all.
        splits: how many times users and items are split.
        items: which tests, each with fits of its own: items new to everybody, or items that other
            users judged in the fit.
        unseen_users: share of the users kept out of the fit, to adapt to and to test on.
        test: share of the groups kept out.
        group_by: what the splits must not cut; None: found, as `fit` does.
        compare: how methods are compared.
        seed: seed of the first split; the next ones have the next seeds.
    """

    cache: Annotated[Path, POSITIONAL]
    out: Path
    methods: tuple[str, ...] | None = None
    splits: int = 1
    items: tuple[Holdout, ...] = ("new items",)
    unseen_users: float = 0.3
    test: float = 0.3
    group_by: GroupBy | None = None
    compare: Annotated[ComparisonConfig, FLAT] = dataclasses.field(default_factory=ComparisonConfig)
    seed: int = 0


def run(config: Config) -> dict[str, object]:
    """Makes the parts that are missing, and writes results, tables and figures."""
    from lore_jax.data.four_way import FourWay, four_way
    from lore_jax.data.summary import summary
    from lore_jax.evaluation.comparison import ComparedSplit, compared_split
    from lore_jax.fitting.roster import ROSTER, entries
    from lore_jax.reporting.comparison_tables import comparison_markdown
    from lore_jax.runs.comparison import (
        FIGURES,
        RESULTS,
        TABLES,
        compared_test,
        refuse_other_folder,
        run_comparison,
    )
    from lore_jax.storage.cache.manifest import read_manifest
    from lore_jax.storage.cache.reader import load_cache
    from lore_jax.storage.files import json_sha256

    methods = entries(ROSTER if config.methods is None else config.methods)
    if not 1 <= config.splits <= _MOST_SPLITS:
        raise ValueError(f"splits is {config.splits}: 1 to {_MOST_SPLITS:,} is expected")
    if not config.items:
        raise ValueError("no items are given: 'new items', 'known items' or both are expected")
    refuse_other_folder(config.out)
    manifest, prefs = read_manifest(config.cache), load_cache(config.cache)

    def cut(items: Holdout, number: int) -> FourWay:
        return four_way(
            prefs,
            unseen_users=config.unseen_users,
            test=config.test,
            group_by=config.group_by,
            items=(items,),
            seed=config.seed + number,
        )

    tests = dict.fromkeys(config.items)
    for items in tests:  # before anything is written
        for line in summary(cut(items, 0)):
            _announce(f"{items}: {line}")
    names = ("unseen_users", "test", "group_by")
    about = {name: getattr(config, name) for name in names}
    about["manifest_sha256"] = json_sha256(manifest)

    def split(items: Holdout, number: int) -> ComparedSplit:
        _announce(f"split {number}, {items}")
        return compared_split(cut(items, number), items, prefs.user_ids)

    compared = [
        compared_test(
            methods,
            lambda items=items, number=number: split(items, number),
            config.compare,
            data=config.cache.name,
            items=items,
            number=number,
            seed=config.seed + number,
            about=about,
            announce=_announce_fit,
        )
        for number in range(config.splits)
        for items in tests
    ]
    smoke = "FITS OF A FEW STEPS, NOTHING CHOSEN." if config.compare.smoke else ""
    note = " ".join(filter(None, [smoke, manifest["note"]]))
    results = run_comparison(config.out, compared, seed=config.seed, note=note)
    return {
        "results": str(config.out / RESULTS),
        "tables": str(config.out / TABLES),
        "figures": str(config.out / FIGURES),
        "fits": results.get("fits"),
        "note": note,
        "markdown": comparison_markdown(results),
    }


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result for people."""
    notes = [result["note"], ""] if result["note"] else []
    text = [*result["markdown"].splitlines(), "", *notes]
    return [*text, *(f"Saved {result[name]}" for name in ("results", "tables", "figures"))]


def _announce_fit(fit: FitEntry) -> None:
    seconds = fit["seconds"]
    done = fit["note"] or f"{seconds:.1f} s and {fit['compile_seconds']:.1f} s of compiling"
    _announce(f"  {fit['method']}, {fit['users']:,} users: {done}")


def _announce(line: str) -> None:
    """Says on standard error, beside the progress, what is done."""
    print(f"lore-jax: {line}", file=sys.stderr, flush=True)
