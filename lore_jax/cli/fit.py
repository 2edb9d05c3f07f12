"""`lore-jax fit`: a cache becomes a run."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.runs.config import RunConfig, from_decisive


@dataclasses.dataclass(frozen=True)
class Config:
    """Fits the basis and the seen users' weights; what is not given is chosen on validation folds.

    The run keeps config, split, checkpoints, metrics and the model. SIGTERM writes a checkpoint and
    ends with status 0; while settings are being chosen it ends at once, and nothing is kept.

    Answers of other kinds than strict pairs (ties, strengths, rankings, votes, ratings) are fitted
    as they were said where the method is the population model.

    Attributes:
        cache: the cache to fit.
        out: the run's folder, new or empty.
        resume: go on with the run that is there (the same options), or begin if there is none.
        overwrite: remove the run that is there.
        config: the `run.json` of a run to repeat: its options are the defaults of this one.
        run: what the run does.
        distributed: the same command runs on other hosts too (of a TPU slice, or under Slurm or
            MPI), and they fit together; the run's folder must be one that all of them see.
    """

    cache: Annotated[Path, POSITIONAL]
    out: Path
    resume: bool = False
    overwrite: bool = False
    config: Path | None = None
    run: Annotated[RunConfig, FLAT] = dataclasses.field(default_factory=RunConfig)
    distributed: bool = False


def defaults(words: Sequence[str]) -> dict[str, object]:
    """The options of the run that `--config` names, if it is given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", nargs="?")
    name = parser.parse_known_args(words)[0].config
    if name is None:
        return {}
    from lore_jax.runs.folder import MANIFEST, read_run

    where = Path(name)
    if where.name != MANIFEST:
        raise ValueError(f"--config is {where}: the {MANIFEST} of a run is expected")
    return {"run": from_decisive(read_run(where.parent).manifest["config"], str(where))}


def run(config: Config) -> dict[str, object]:
    """Runs the fit."""
    if config.distributed:
        import jax

        jax.distributed.initialize()  # before anything looks at the devices
    from lore_jax.runs.folder import MANIFEST
    from lore_jax.runs.run import run_fit
    from lore_jax.runs.sigterm import StoppedEarlyError

    resumed = config.resume and (config.out / MANIFEST).exists()
    try:
        report = run_fit(
            config.cache,
            config.out,
            config.run,
            resume=config.resume,
            overwrite=config.overwrite,
            announce=_announce,
        )
    except StoppedEarlyError:
        nothing = {"resumed": False, "resumed_from": 0, "step": 0, "steps": None, "loss": None}
        return {
            "run": str(config.out),
            "finished": False,
            **nothing,
            "choice": {},
            "unit": "pairs",
            "split": None,
        }
    split = report.run.manifest["split"]
    return {
        "run": str(report.run.path),
        "finished": report.run.is_finished,
        "resumed": resumed,
        "resumed_from": report.resumed_from,
        "step": report.step,
        "steps": report.steps,
        "loss": report.loss,
        "choice": report.run.manifest["choice"],
        "unit": "answers" if report.run.as_said else "pairs",
        "split": split
        and {
            **{name: split[name] for name in ("parts", "dropped", "digest")},
            "summary": split.get("summary", []),
        },
    }


def _announce(line: str) -> None:
    """Says on standard error, beside the progress, what is kept for the test."""
    print(f"lore-jax: {line}", file=sys.stderr, flush=True)


def lines(result: Mapping[str, Any]) -> list[str]:
    """The result for people."""
    if result["steps"] is None:
        advice = "the same command begins again"
        return [f"{result['run']}", f"  stopped before the fit began, nothing is kept: {advice}"]
    text = [f"{result['run']}", "  fitted everything; nothing was kept for evaluate"]
    if result["split"] is not None:
        sizes = result["split"]["parts"]
        text[1] = (
            f"  {sizes['train']:,} {result['unit']} of {sizes['users/seen']:,} seen users fitted; "
            f"{sizes['users/unseen']:,} users kept for the test"
        )
        # What was kept was said on standard error, before the fit began; what to do about too few
        # users is said again.
        summary = result["split"]["summary"][0 if result["resumed"] else 1 :]
        text += [f"  {line}" for line in summary]
    if result["choice"]:
        chosen = (f"{name} {value:g}" for name, value in result["choice"].items())
        text.append(f"  {', '.join(chosen)}")
    if result["loss"] is not None:
        first = f", from step {result['resumed_from']:,} on" if result["resumed_from"] else ""
        steps = f"{result['step']:,} of {result['steps']:,}{first}"
        text.append(f"  step {steps}: loss {result['loss']:.4f}")
    if not result["finished"]:
        text.append("  stopped before the end: the same command with --resume goes on")
    return text
