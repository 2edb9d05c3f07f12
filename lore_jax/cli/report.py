"""`lore-jax report`: results as a page."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, TypedDict

from lore_jax.cli.arguments import POSITIONAL


@dataclasses.dataclass(frozen=True)
class Config:
    """Draws the results of a run, or of several with different seeds, as one self-contained page.

    On it: in plain words, how many choices of new and of known people are predicted, and whether
    personalising helps; who gains and who loses; along which axes users disagree, with the
    responses at both ends; what shots add; every method and control with intervals; whether
    probabilities are calibrated; how much of the fit is in use; how it was made.

    Attributes:
        runs: runs (evaluated first where they are not), or results files; several are joined, their
            intervals over all splits, the axes those of the first.
        out: the page, a new .html file.
        title: of the page; by default the names of the data sets.
        learning_curve: show what more users would bring; a run that is evaluated first gets a
            learning curve, results without one are refused.
        note: shown at the top; by default what the cache says about its pairs.
        overwrite: replace an existing page.
    """

    runs: Annotated[tuple[Path, ...], POSITIONAL]
    out: Path
    title: str | None = None
    learning_curve: bool = False
    note: str | None = None
    overwrite: bool = False


class Summary(TypedDict):
    """What the command says: the page, its size, and how many splits are on it."""

    report: str
    bytes: int
    splits: int


def run(config: Config) -> Summary:
    """Writes the page."""
    from lore_jax.cli import evaluate
    from lore_jax.evaluation.results import join, read_results
    from lore_jax.reporting.page import page, refuse_empty_title
    from lore_jax.runs.folder import MANIFEST, RESULTS
    from lore_jax.storage.files import refuse_existing, write_file

    if not config.runs:
        raise ValueError("no run is given: one or more are expected")
    if config.out.suffix not in (".html", ".htm"):
        raise ValueError(f"--out is {config.out}: the name of an .html file is expected")
    refuse_existing(config.out, config.overwrite)
    if config.title is not None:
        refuse_empty_title(config.title)
    if twice := [path for path in config.runs if config.runs.count(path) > 1]:
        raise ValueError(f"{twice[0]} is given twice: results of different splits are expected")
    parts = []
    for path in config.runs:
        file = path / RESULTS if path.is_dir() else path
        if not file.is_file() and (path / MANIFEST).exists():
            evaluate.run(evaluate.Config(path, learning_curve=config.learning_curve))
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there: a run, or its results, is expected")
        parts.append(read_results(file))
        if config.learning_curve and "learning_curve" not in parts[-1]:
            command = f"lore-jax evaluate {path} --learning-curve --overwrite"
            raise ValueError(f"{file} has no learning curve: `{command}` makes one")
    results = join(parts)
    note = config.note if config.note is not None else results.get("note") or ""
    html = page(results, note=note, title=config.title)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    size = write_file(config.out, [html.encode()]).bytes
    return {"report": str(config.out), "bytes": size, "splits": len(results["splits"])}


def lines(result: Summary) -> list[str]:
    """The result for people."""
    size = f"one page of {result['bytes'] / 1e6:.1f} MB, {result['splits']} splits"
    return [f"{result['report']}: {size}"]


def report(
    run_folder: str | os.PathLike[str], out: str | os.PathLike[str], *, title: str | None = None
) -> Path:
    """Writes a run's results as one self-contained page; evaluates the run first if need be.

    Args:
        run_folder: a finished run, from `run_fit` or `lore-jax fit`.
        out: the page, a new .html file.
        title: of the page; None: the name of the data set.

    Returns:
        The page.

    Raises:
        FileNotFoundError: there is no run.
        FileExistsError: there is such a page.
        ValueError: the run is not finished, or kept nothing for the test; or the title is empty.

    Example:
        >>> report("run", "report.html")  # doctest: +SKIP
        PosixPath('report.html')
    """
    return Path(run(Config((Path(run_folder),), Path(out), title))["report"])
