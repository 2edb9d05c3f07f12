"""A fit on disk: it shows progress, survives being killed, and ends where an unbroken one ends.

The fit advances in chunks of steps whose boundaries depend on the configuration alone. A checkpoint
keeps the state after some chunk, free of devices; going on from it repeats the same programs on the
same numbers. SIGTERM, which comes before a preemption, is heard at the end of a chunk.

Processes joined by `jax.distributed` run a fit together, on all their devices: each calls `run_fit`
with the same arguments, on a folder that all of them see. The first one writes, all save
checkpoints together, and SIGTERM to any of them is heard by all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree
from tqdm import tqdm

from lore_jax.data.feedback import Feedback
from lore_jax.data.summary import summary
from lore_jax.fitting.config import AnyMethod
from lore_jax.fitting.feedback import AnswerFit
from lore_jax.fitting.fit import JointFit
from lore_jax.model.saved import load
from lore_jax.parallel.devices import Devices, any_process, is_first_process
from lore_jax.parallel.host_state import onto_devices, without_devices
from lore_jax.runs.config import RunConfig, decisive
from lore_jax.runs.folder import (
    CHECKPOINTS,
    MANIFEST,
    METRICS,
    MODEL,
    RunFolder,
    begin_run,
    read_run,
    refuse_folder,
)
from lore_jax.runs.material import begin_fit, load_material, split_material
from lore_jax.runs.metrics import (
    LOG,
    Metrics,
    append_metrics,
    cut_metrics,
    find_log_corruption,
    last_loss,
    log_digest,
    metrics_rows,
)
from lore_jax.runs.sigterm import Stop, hear_sigterm
from lore_jax.storage.checkpoint.store import AllCorruptError, CheckpointStore
from lore_jax.storage.files import locked


class RunReport(NamedTuple):
    """How a run, or a part of it, went.

    Attributes:
        run: its folder.
        resumed_from: the step that it went on from; 0: it began.
        step: the step it has reached, of `steps`.
        steps: how many make the fit.
        loss: the last training loss, in nats a pair, or None if no step was made.
    """

    run: RunFolder
    resumed_from: int
    step: int
    steps: int
    loss: float | None


def run_fit(
    cache: str | os.PathLike[str],
    path: str | os.PathLike[str],
    config: RunConfig | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    announce: Callable[[str], None] | None = None,
    on_metrics: Callable[[Metrics], object] | None = None,
) -> RunReport:
    """Fits a cache and keeps everything in a folder.

    Args:
        cache: the cache's folder.
        path: the run's folder, new or empty.
        config: what to do.
        resume: go on with the run that is there; begin if there is none.
        overwrite: remove the run that is there.
        announce: is given the lines that say what is kept for the test, before the fit begins.
        on_metrics: is given what `metrics.jsonl` keeps of each step, soon after it: `wandb.log`,
            say. What it raises ends the run, which can be resumed.

    Returns:
        A report. After SIGTERM `run.is_finished` is False; resuming does the rest.

    Raises:
        FileExistsError: the folder holds a run and neither `resume` nor `overwrite` is asked for,
            or something else.
        BlockingIOError: another process is writing this run.
        StoppedEarlyError: SIGTERM came while settings were still being chosen.
        ValueError: the configuration does not fit the cache, or, when resuming, is not that of the
            run; nothing is written. Or the loss is not finite any more; the last checkpoint stays.
        OSError: the disk refused; the run can be resumed.

    Example:
        >>> report = run_fit("cache", "run", RunConfig(seed=1))  # doctest: +SKIP
        >>> model, users = load(report.run.path / "model")  # doctest: +SKIP
    """
    config = RunConfig() if config is None else config
    if not isinstance(config, RunConfig):
        raise ValueError(f"config is a {type(config).__name__}: RunConfig is expected")
    if not isinstance(cache, str | os.PathLike):
        raise ValueError(f"cache is a {type(cache).__name__}: the folder of a cache is expected")
    path, cache = Path(os.path.abspath(path)), Path(cache)
    devices = _devices(config)
    refuse_folder(path, resume=resume, overwrite=overwrite)
    with _one_writer(path), hear_sigterm() as stop:
        if is_first_process():  # again, now that no other process writes
            refuse_folder(path, resume=resume, overwrite=overwrite)
        (goes_on,) = any_process(resume and (path / MANIFEST).exists())
        if goes_on:
            run = read_run(path)
            _refuse_other_config(run, config)
            train = (run.load_answer_parts if run.as_said else run.load_parts)(cache).train
            if _is_whole(run):
                steps = run.manifest["steps"]
                return RunReport(run, steps, steps, steps, _loss_of_whole(run))
            method = _with_choice(config.fit.method, run)
            fit_config = dataclasses.replace(config.fit, method=method)
        else:
            material, lines = load_material(cache, config)
            split = split_material(material, config)
            if announce is not None and is_first_process():
                for line in [*lines, *([] if split is None else summary(split))]:
                    announce(line)
            train, fit_config = material if split is None else split.train, config.fit
        progress = is_first_process()
        running, state = begin_fit(train, config, fit_config, devices=devices, progress=progress)
        stop.waits = True
        if not goes_on:
            about = _about(config, running, devices)
            about["as_said"] = isinstance(train, Feedback)
            if is_first_process():
                begin_run(path, cache, split, about)
            any_process(False)  # `run.json` is there for all
            run = read_run(path)
        resumed_from, step, state = _advance(run, config, running, state, stop, on_metrics)
        if step == running.steps:
            predictor = running.finish(state)
            predictor.save(path / MODEL, encoder=run.manifest["data"]["encoder"])
        any_process(False)  # what the first process wrote is there for all
        return RunReport(run, resumed_from, step, running.steps, last_loss(path / METRICS))


def _advance(
    run: RunFolder,
    config: RunConfig,
    running: JointFit | AnswerFit,
    state: PyTree,
    stop: Stop,
    on_metrics: Callable[[Metrics], object] | None,
) -> tuple[int, int, PyTree]:
    """Goes on until the end or a signal; the step it began at, the step it is at, the state."""
    if not running.steps:
        return 0, 0, state
    metrics = run.path / METRICS
    with CheckpointStore(run.path / CHECKPOINTS) as store:
        step, extra = 0, {}
        try:
            step, kept, extra = store.restore(without_devices(state, running.layout))
            state = onto_devices(kept, state, running.layout)
        except FileNotFoundError:
            pass
        except AllCorruptError as error:
            warnings.warn(f"starting again from step 0: {error}", RuntimeWarning, stacklevel=3)
        first, saved = step, time.monotonic()
        if is_first_process():
            cut_metrics(metrics, step, extra)
        quiet = None if is_first_process() else True
        name, total = run.path.name, running.steps
        with tqdm(total=total, initial=step, desc=name, unit="step", disable=quiet) as bar:
            stopping, _ = any_process(stop.is_set(), False)
            while step < total and not stopping:
                count = min(config.chunk - step % config.chunk, total - step)
                state, info = running.advance(state, step, count)
                loss, grad_norm = np.asarray(info.loss), np.asarray(info.grad_norm)
                if len(bad := np.flatnonzero(~np.isfinite(loss))):
                    raise ValueError(
                        f"the loss is {loss[bad[0]]} at step {step + bad[0]}: try a lower learning "
                        "rate"
                    )
                if is_first_process():
                    rows = metrics_rows(step, loss, grad_norm)
                    append_metrics(metrics, rows)
                    if on_metrics is not None:
                        for row in rows:
                            on_metrics(row)
                step += count
                bar.update(count)
                bar.set_postfix(loss=f"{loss[-1]:.4f}", refresh=False)
                due = step == total or time.monotonic() - saved >= config.checkpoint_seconds
                stopping, due = any_process(stop.is_set(), due)
                if due or stopping:
                    # The first process writes what a checkpoint keeps beside its arrays.
                    extra = {LOG: log_digest(metrics)} if is_first_process() else {}
                    store.save(step, without_devices(state, running.layout), extra)
                    saved = time.monotonic()
    return first, step, state


def _devices(config: RunConfig) -> Devices:
    devices = jax.devices()
    if config.devices is not None and config.devices > len(devices):
        raise ValueError(
            f"devices is {config.devices}: 1 to {len(devices)}, the devices there are, is expected"
        )
    return devices[: config.devices]


def _about(config: RunConfig, running: JointFit | AnswerFit, devices: Devices) -> dict[str, object]:
    """What `run.json` says of the fit."""
    sweeps = [
        {
            "stage": table.name,
            "settings": table.settings,
            "loss": _numbers(table.loss),
            "accuracy": _numbers(table.accuracy),
            "best": int(table.best),
        }
        for table in running.sweeps
    ]
    first = devices[0]
    return {
        "config": decisive(config),
        "steps": running.steps,
        "choice": running.choice,
        "validation": sweeps,
        "devices": {"platform": first.platform, "kind": first.device_kind, "count": len(devices)},
    }


def _numbers(values: Float[np.ndarray, "..."]) -> list[object]:
    """Nested lists for JSON, which has no word for NaN: None stands for it."""
    numbers = values.astype(object)
    numbers[~np.isfinite(values)] = None
    return numbers.tolist()


def _refuse_other_config(run: RunFolder, config: RunConfig) -> None:
    old, new = dict(_flat(run.manifest["config"])), dict(_flat(decisive(config)))
    usual = _flat(decisive(RunConfig()))  # of a run older than these options
    old = {**{name: value for name, value in usual if name.startswith("answers.")}, **old}
    differing = [name for name in new if old.get(name) != new[name]]
    if differing:
        lines = ", ".join(f"{name} {new[name]} (it has {old.get(name)})" for name in differing)
        raise ValueError(
            f"{run.path} is a run of another configuration, and cannot go on with {lines}"
        )


def _with_choice(method: AnyMethod, run: RunFolder) -> AnyMethod:
    """The method with what the run has chosen on validation."""
    known, choice = {field.name for field in dataclasses.fields(method)}, run.manifest["choice"]
    if unknown := sorted(choice.keys() - known):
        name = type(method).__name__
        raise ValueError(f"{run.path / MANIFEST}: choice.{unknown[0]} is no setting of {name}")
    return dataclasses.replace(method, **choice)


def _flat(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_whole(run: RunFolder) -> bool:
    """Whether the run is finished and its model intact."""
    try:
        if run.is_finished:
            load(run.path / MODEL)
        return run.is_finished
    except ValueError as error:
        text = f"the model is made again from the last checkpoint: {error}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
        return False


def _loss_of_whole(run: RunFolder) -> float | None:
    """The last loss of a finished run; ValueError if its log is not what was written."""
    log = run.path / METRICS
    if (run.path / CHECKPOINTS).is_dir():
        with CheckpointStore(run.path / CHECKPOINTS, read_only=True) as store:
            if log.exists() and (line := find_log_corruption(log, store.newest_extra())):
                raise ValueError(line)
    return last_loss(log)


@contextlib.contextmanager
def _one_writer(path: Path) -> Iterator[None]:
    """The first process holds the lock; a run that fails before it writes leaves no folder."""
    if not is_first_process():
        yield
        return
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path.with_name(path.name + ".lock")):
            yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
