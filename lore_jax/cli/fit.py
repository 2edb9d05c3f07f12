"""`lore-jax fit`: a cache becomes a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from lore_jax.cli.arguments import FLAT, POSITIONAL, OneOf
from lore_jax.fitting.config import METHODS, FitConfig
from lore_jax.parallel.devices import Mapping
from lore_jax.runs.config import RunConfig, SplitConfig


@dataclasses.dataclass(frozen=True)
class Config:
    """Fits the basis and the seen users' weights; what is not given is chosen on validation folds.

    The run keeps config, split, checkpoints, metrics and the model. SIGTERM writes a checkpoint and
    ends with status 0.

    Attributes:
        cache: the cache to fit.
        out: the run's folder, new or empty.
        resume: go on with the run that is there (the same options), or begin if there is none.
        overwrite: remove the run that is there.
        seed: seed of the split, of validation and of the initialisation.
        fit: what is fitted.
        split: what is kept for `evaluate`.
        chunk: steps between two looks at the clock and at signals.
        checkpoint_seconds: the least time between two checkpoints.
        devices: how many devices; None: all.
        mapping: how the fit is mapped over devices.
        distributed: the same command runs on other hosts too (of a TPU slice, or under Slurm or
            MPI), and they fit together; the run's folder must be one that all of them see.
    """

    cache: Annotated[Path, POSITIONAL]
    out: Path
    resume: bool = False
    overwrite: bool = False
    seed: int = RunConfig.seed
    fit: Annotated[FitConfig, FLAT, OneOf("method", METHODS)] = dataclasses.field(
        default_factory=FitConfig
    )
    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    chunk: int = RunConfig.chunk
    checkpoint_seconds: float = RunConfig.checkpoint_seconds
    devices: int | None = RunConfig.devices
    mapping: Mapping = RunConfig.mapping
    distributed: bool = False


def run(config: Config) -> dict[str, Any]:
    """Runs the fit."""
    if config.distributed:
        import jax

        jax.distributed.initialize()  # before anything looks at the devices
    from lore_jax.runs.run import run_fit

    names = [field.name for field in dataclasses.fields(RunConfig)]
    run_config = RunConfig(**{name: getattr(config, name) for name in names})
    report = run_fit(
        config.cache, config.out, run_config, resume=config.resume, overwrite=config.overwrite
    )
    split = report.run.manifest["split"]
    return {
        "run": str(report.run.path),
        "finished": report.run.is_finished,
        "resumed_from": report.resumed_from,
        "step": report.step,
        "steps": report.steps,
        "loss": report.loss,
        "choice": report.run.manifest["choice"],
        "split": None
        if split is None
        else {name: split[name] for name in ("parts", "dropped", "digest")},
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    choice = ", ".join(f"{name} {value:g}" for name, value in result["choice"].items())
    said = [f"{result['run']}"]
    if result["split"] is None:
        said.append("  fitted everything; nothing was kept for evaluate")
    else:
        parts = result["split"]["parts"]
        seen, unseen = parts["users/seen"], parts["users/unseen"]
        said.append(
            f"  {parts['train']:,} pairs of {seen:,} seen users fitted; "
            f"{unseen:,} users kept for the test"
        )
    said.append(f"  {choice}")
    if result["loss"] is not None:
        begun = f", from step {result['resumed_from']:,} on" if result["resumed_from"] else ""
        said.append(
            f"  step {result['step']:,} of {result['steps']:,}{begun}: loss {result['loss']:.4f}"
        )
    if not result["finished"]:
        said.append("  stopped before the end: the same command with --resume goes on")
    return said
