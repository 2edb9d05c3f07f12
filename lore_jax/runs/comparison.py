"""A comparison of methods on disk: one file a test and split, then results, tables and figures.

parts/*.json   what methods do on one split; made once, so that a stopped comparison goes on
results.json   all of them
tables.md      the tables
figures/       differences, curves over shots and over users in the fit
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lore_jax.data.splits import Holdout
from lore_jax.evaluation.comparison import ComparedSplit, ComparisonConfig, compare
from lore_jax.evaluation.names import GAUSSIAN
from lore_jax.evaluation.results import describe_split, join, make_results, write_results
from lore_jax.evaluation.schema import FitEntry, Results
from lore_jax.fitting.roster import Entry
from lore_jax.reporting.comparison_figures import save_comparison_figures
from lore_jax.reporting.comparison_tables import comparison_markdown
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file

PARTS, RESULTS, TABLES, FIGURES = "parts", "results.json", "tables.md", "figures"


def comparison_part(
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
) -> Part:
    """One test of one split, for `run_parts`.

    Args:
        methods: of the roster, by name.
        split: makes the split.
        config: how methods are compared.
        data: name of the data set.
        items: what the test holds out.
        number: of the split.
        seed: of the split and of everything on it.
        about: what else decides the numbers, for instance the checksum of a cache.
        announce: is given the entry of each fit when it is done.

    Returns:
        The part.
    """
    settings = {"config": {"methods": list(methods), "comparison": config, "about": about}}

    def make() -> Results:
        compared = split()
        found = compare(
            methods, compared, config, data=data, number=number, seed=seed, announce=announce
        )
        entry = describe_split(
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
        return make_results(
            found.rows, [entry], name="comparison", seed=seed, method=GAUSSIAN, **settings, **more
        )

    return Part(f"{data}-{items.replace(' ', '-')}-{number}", {**settings, "seed": seed}, make)


def run_comparison(out: Path, parts: Sequence[Part], *, seed: int, note: str = "") -> Results:
    """Makes the parts that are missing and writes what all of them say.

    Args:
        out: the folder.
        parts: from `comparison_part`.
        seed: of the first split.
        note: what must be said beside every number.

    Returns:
        The results, as written.

    Raises:
        ValueError: a part that is there was made with other settings.
        OSError: the disk refused.
    """
    results = join(run_parts(out / PARTS, parts, description="tests x splits"))
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
