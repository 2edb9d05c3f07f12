"""A comparison of methods on disk: one file a test, split and method, then tables and figures.

parts/*/*.json what a method does on one split; made once, so that a stopped comparison goes on, and
               a method that is added later is all that is fitted
results.json   all of them, side by side
tables.md      the tables
figures/       differences, curves over shots and over users in the fit
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lore_jax.data.splits import Holdout
from lore_jax.evaluation.comparison import ComparedSplit, ComparisonConfig, compare
from lore_jax.evaluation.names import GAUSSIAN
from lore_jax.evaluation.results import (
    describe_split,
    join,
    make_results,
    plain,
    side_by_side,
    write_results,
)
from lore_jax.evaluation.schema import FitEntry, Results
from lore_jax.fitting.roster import Entry
from lore_jax.reporting.comparison_figures import save_comparison_figures
from lore_jax.reporting.comparison_tables import comparison_markdown
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file

PARTS, RESULTS, TABLES, FIGURES = "parts", "results.json", "tables.md", "figures"


class ComparedTest(NamedTuple):
    """One test of one split, method by method.

    Attributes:
        config: what decides its numbers, of all methods.
        parts: for `run_parts`, one a method.
    """

    config: Mapping[str, object]
    parts: Sequence[Part]


def compared_test(
    methods: Mapping[str, Entry],
    split: Callable[[], ComparedSplit],
    config: ComparisonConfig,
    *,
    data: str,
    items: Holdout,
    number: int,
    seed: int,
    about: object = None,
    announce: Callable[[FitEntry], None] | None = None,
) -> ComparedTest:
    """One test of one split, for `run_comparison`.

    Methods know nothing of each other, so each one's rows are a file of its own, under its own
    settings: what is fitted is what is missing.

    Args:
        methods: of the roster, by name.
        split: makes the split, the same whenever it is called; not called where nothing is missing.
        config: how methods are compared.
        data: name of the data set.
        items: what the test holds out.
        number: of the split.
        seed: of the split and of everything on it.
        about: what else decides the numbers, for instance the checksum of a cache.
        announce: is given the entry of each fit when it is done.

    Returns:
        The test.
    """
    of_all = {"comparison": config, "about": about}

    def part(name: str, entry: Entry) -> Part:
        own = {"method": name, **entry.settings(smoke=config.smoke)}
        settings = {"config": {**own, **of_all}}

        def make() -> Results:
            compared = _latest(split)
            found = compare(
                {name: entry},
                compared,
                config,
                data=data,
                number=number,
                seed=seed,
                announce=announce,
            )
            about_split = describe_split(
                compared.names,
                items=(items,),
                group_by=compared.group_by,
                digest=compared.digest,
                data=data,
                split=number,
                dropped=compared.dropped,
                chosen=found.chosen,
            )
            more = {"fits": found.fits, "fewer_users": found.fewer_users, "budget": config.budget}
            about_run = {"name": "comparison", "seed": seed, "method": GAUSSIAN}
            return make_results(found.rows, [about_split], **about_run, **settings, **more)

        folder = f"{data}-{items.replace(' ', '-')}-{number}"
        return Part(f"{folder}/{name}", {**settings, "seed": seed}, make)

    parts = [part(name, entry) for name, entry in methods.items()]
    return ComparedTest({"methods": list(methods), **of_all}, parts)


@functools.lru_cache(maxsize=1)
def _latest(split: Callable[[], ComparedSplit]) -> ComparedSplit:
    """The split that all methods of a test are fitted to, one after the other."""
    return split()


def run_comparison(
    out: Path, tests: Sequence[ComparedTest], *, seed: int, note: str = ""
) -> Results:
    """Makes the parts that are missing and writes what all of them say.

    Args:
        out: the folder.
        tests: from `compared_test`.
        seed: of the first split.
        note: what must be said beside every number.

    Returns:
        The results, as written.

    Raises:
        ValueError: a part that is there was made with other settings.
        OSError: the disk refused.
    """
    parts = [part for test in tests for part in test.parts]
    made = iter(run_parts(out / PARTS, parts, description="tests x splits x methods"))
    _latest.cache_clear()
    of_tests = []
    for test in tests:
        of_tests.append(side_by_side([next(made) for _ in test.parts]))
        of_tests[-1]["config"] = plain(test.config)
    results = join(of_tests)
    results["seed"], results["note"] = seed, note or None
    text = "\n\n".join(filter(None, [note, comparison_markdown(results)]))
    write_results(out / RESULTS, results)
    write_file(out / TABLES, [text.encode(), b"\n"])
    save_comparison_figures(results, out / FIGURES, note=note)
    return results


def refuse_other_folder(out: Path) -> None:
    """Refuses a folder that is neither new, nor empty, nor of a comparison.

    Raises:
        FileExistsError: it is a file, or holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f"{out} is a file: a folder, new or of a comparison, is expected")
    names = sorted(entry.name for entry in out.iterdir() if not entry.name.startswith("."))
    if unexpected := [name for name in names if name not in (PARTS, RESULTS, TABLES, FIGURES)]:
        raise FileExistsError(
            f"{out} holds {unexpected[0]!r}, which is no part of a comparison: choose another "
            "folder"
        )
