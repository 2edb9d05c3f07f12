"""`lore-jax report`: results as a page with tables and figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclasses.dataclass(frozen=True)
class Config:
    """Draws results.json of one run, or of several runs with different seeds, as a Markdown page with figures.

    Attributes:
        runs: evaluated runs, or results files; several are joined, their intervals over all splits.
        out: the folder of the page, new or empty.
        note: said under each figure; by default what the cache says about its pairs.
        overwrite: replace a page that is there.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path
    note: str | None = None
    overwrite: bool = False


def run(config: Config) -> dict[str, Any]:
    """Writes the page."""
    from lore_jax.files import write_file
    from lore_jax.plots import save_figures
    from lore_jax.results import join, read_results
    from lore_jax.run_folder import MANIFEST, RESULTS

    if not config.runs:
        raise ValueError("no run is given: an evaluated run is expected")
    parts = []
    for path in config.runs:
        file = path / RESULTS if path.is_dir() else path
        if not file.is_file():
            hint = "`lore-jax evaluate` makes them" if (path / MANIFEST).exists() else "an evaluated run is expected"
            raise FileNotFoundError(f"{file} is not there: {hint}")
        parts.append(read_results(file))
    page = config.out / "report.md"
    if config.out.exists() and any(config.out.iterdir()) and not config.overwrite:
        raise FileExistsError(f"{config.out} is not empty: overwrite it explicitly or choose another folder")
    results = join(parts)
    note = config.note if config.note is not None else results.get("note") or ""
    text = _page(results, note)
    figures = save_figures(results, config.out, note=note)
    text += [f"![{figure.stem}]({figure.name})\n" for figure in figures]
    write_file(page, ["\n".join(text).encode()])
    return {"report": str(page), "figures": [str(figure) for figure in figures], "splits": len(results["splits"])}


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    return [f"{result['report']}: {len(result['figures'])} figures, {result['splits']} splits"]


def _page(results: dict[str, Any], note: str) -> list[str]:
    from lore_jax.results import select
    from lore_jax.tables import four_way_columns, method_lines, shots_columns, table
    from lore_jax.verdict import verdict

    machine, methods = results["machine"], list(dict.fromkeys(row["method"] for row in results["rows"]))
    names = ", ".join(dict.fromkeys(entry["data"] or "unnamed data" for entry in results["splits"]))
    counts = sorted({row["shots"] for row in results["rows"] if row["shots"]})
    shots = min(counts, key=lambda count: abs(count - 20), default=20)
    text = [f"# {names}\n", *([f"{note}\n"] if note else [])]
    for units in ("unseen", "seen"):
        if counts and select(results, method=methods[0], users="unseen", units=units, shots=shots):
            sentence = verdict(results, methods[0], units=units, shots=shots)["sentence"]
            text.append(f"New users, {units} {results['splits'][0]['unit']}s. {sentence}.\n")
    lines_of = method_lines(results)
    text += ["## Accuracy, in points (95 % interval over users and splits)\n"]
    text += [table(results, lines_of, four_way_columns(results, shots=shots)) + "\n"]
    for units in ("unseen", "seen"):
        if columns := shots_columns(results, units=units):
            text += [f"## New users after some shots, {units} {results['splits'][0]['unit']}s\n"]
            text += [table(results, lines_of, columns) + "\n"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    text += [f"Python {machine['python']}, {packages}; {machine['devices']} x {machine['device']}.\n"]
    return text
