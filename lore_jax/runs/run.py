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
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree
from tqdm import tqdm

from lore_jax.data.four_way import FourWay, four_way
from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import default_group_by, method_name
from lore_jax.fitting.fit import JointFit, start
from lore_jax.model.saved import load
from lore_jax.parallel.devices import Devices, any_process, is_first_process
from lore_jax.parallel.host_state import onto_devices, without_devices
from lore_jax.runs.config import DECISIVE, RunConfig
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
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.checkpoint.store import AllCorruptError, CheckpointStore
from lore_jax.storage.files import locked, write_file


class RunReport(NamedTuple):
    """How a run, or a part of it, went.

    Attributes:
        run: its folder.
        resumed_from: the step that it went on from; 0: it began.
        step: the step it has reached.
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
) -> RunReport:
    """Fits a cache and keeps everything in a folder.

    Args:
        cache: the cache's folder.
        path: the run's folder, new or empty.
        config: what to do.
        resume: go on with the run that is there; begin if there is none.
        overwrite: remove the run that is there.

    Returns:
        A report. After SIGTERM `run.is_finished` is False; resuming does the rest.

    Raises:
        FileExistsError: the folder holds a run and neither `resume` nor `overwrite` is asked for,
            or something else.
        BlockingIOError: another process is writing this run.
        ValueError: the configuration does not fit the cache, or, when resuming, is not that of the
            run; nothing is written. Or the loss is not finite any more; the last checkpoint stays.
        OSError: the disk refused; the run can be resumed.

    Example:
        >>> report = run_fit("cache", "run", RunConfig(seed=1))
        >>> model, users = load(report.run.path / "model")
    """
    path, cache = Path(os.path.abspath(path)), Path(cache)
    config = config or RunConfig()
    devices = _devices(config)
    refuse_folder(path, resume=resume, overwrite=overwrite)
    with _one_writer(path), _hear_sigterm() as stop:
        if is_first_process():
            # again, now that nobody else writes
            refuse_folder(path, resume=resume, overwrite=overwrite)
        (goes_on,) = any_process(resume and (path / MANIFEST).exists())
        if goes_on:
            run = read_run(path)
            _refuse_other_config(run, config)
            train = run.load_parts(cache).train
            if _is_whole(run):
                steps = run.manifest["steps"]
                return RunReport(run, steps, steps, steps, _last_loss(path))
            method = dataclasses.replace(config.fit.method, **run.manifest["choice"])
            fit_config = dataclasses.replace(config.fit, method=method)
        else:
            prefs = load_cache(cache)
            group_by = config.fit.group_by or default_group_by(prefs, config.fit.folds)
            split = _split(prefs, config, group_by)
            train = prefs if split is None else split.train
            fit_config = dataclasses.replace(config.fit, group_by=group_by)
        running, state = start(
            train,
            fit_config,
            key=jax.random.key(config.seed),
            devices=devices,
            mapping=config.mapping,
        )
        if not goes_on:
            about = _about(config, group_by, running, devices)
            if is_first_process():
                begin_run(path, cache, split, about)
            any_process(False)
            run = read_run(path)
        resumed_from, step, state = _advance(run, config, running, state, stop)
        if step == running.steps:
            predictor = running.finish(state)
            predictor.save(path / MODEL, encoder=run.manifest["data"]["encoder"])
        any_process(False)  # what the first process wrote is there for all
        return RunReport(run, resumed_from, step, running.steps, _last_loss(path))


def _advance(
    run: RunFolder, config: RunConfig, running: JointFit, state: PyTree, stop: threading.Event
) -> tuple[int, int, Any]:
    """Goes on until the end or a signal; the step it began at, the step it is at, the state."""
    if not running.steps:
        return 0, 0, state
    metrics = run.path / METRICS
    with CheckpointStore(run.path / CHECKPOINTS) as store:
        step = 0
        try:
            step, kept, _ = store.restore(without_devices(state, running.layout))
            state = onto_devices(kept, state, running.layout)
        except FileNotFoundError:
            pass
        except AllCorruptError as error:
            warnings.warn(f"starting again from step 0: {error}", RuntimeWarning, stacklevel=3)
        first = saved_at = step
        if is_first_process():
            _cut_metrics(metrics, step)
        saved = time.monotonic()
        quiet = None if is_first_process() else True
        with tqdm(
            total=running.steps, initial=step, desc=run.path.name, unit="step", disable=quiet
        ) as bar:
            stopping, _ = any_process(stop.is_set(), False)
            while step < running.steps and not stopping:
                count = min(config.chunk - step % config.chunk, running.steps - step)
                state, info = running.advance(state, step, count)
                loss, grad_norm = np.asarray(info.loss), np.asarray(info.grad_norm)
                if not np.isfinite(loss).all():
                    bad = step + int(np.flatnonzero(~np.isfinite(loss))[0])
                    raise ValueError(
                        f"the loss is {loss[bad - step]} at step {bad}: try a lower learning rate"
                    )
                if is_first_process():
                    _append_metrics(metrics, step, loss, grad_norm)
                step += count
                bar.update(count)
                bar.set_postfix(loss=f"{loss[-1]:.4f}", refresh=False)
                due = step == running.steps or time.monotonic() - saved >= config.checkpoint_seconds
                stopping, due = any_process(stop.is_set(), due)
                if due:
                    store.save(step, without_devices(state, running.layout))
                    saved, saved_at = time.monotonic(), step
        if saved_at != step:
            store.save(step, without_devices(state, running.layout))
    return first, step, state


def _devices(config: RunConfig) -> Devices:
    devices = jax.devices()
    if config.devices is not None and config.devices > len(devices):
        raise ValueError(
            f"devices is {config.devices}: 1 to {len(devices)}, the devices there are, is expected"
        )
    return devices[: config.devices]


def _split(prefs: Preferences, config: RunConfig, group_by: Any) -> FourWay | None:
    options = dataclasses.asdict(config.split)
    if options.pop("everything"):
        return None
    return four_way(prefs, **options, group_by=group_by, seed=config.seed)


def _about(config: RunConfig, group_by: str, running: JointFit, devices: Devices) -> dict[str, Any]:
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
    return {
        "config": _decisive(config),
        "group_by": group_by,
        "steps": running.steps,
        "choice": running.choice,
        "validation": sweeps,
        "devices": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
        },
    }


def _numbers(values: np.ndarray) -> list[Any]:
    """Nested lists for JSON, which has no word for NaN: None stands for it."""
    return [
        _numbers(value) if np.ndim(value) else (float(value) if np.isfinite(value) else None)
        for value in values
    ]


def _decisive(config: RunConfig) -> dict[str, Any]:
    plain = _plain(config)
    plain["fit"]["method"]["name"] = method_name(config.fit.method)
    return json.loads(json.dumps({name: plain[name] for name in DECISIVE}))


def _plain(value: object) -> Any:
    """Configurations as dictionaries; a pytree among them (a likelihood) is told by its name."""
    if not dataclasses.is_dataclass(value):
        return value
    if not jax.tree_util.all_leaves([value]):
        return type(value).__name__
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _refuse_other_config(run: RunFolder, config: RunConfig) -> None:
    old, new = (dict(_flat(one)) for one in (run.manifest["config"], _decisive(config)))
    differing = [name for name in new if old.get(name) != new[name]]
    if differing:
        lines = ", ".join(f"{name} {new[name]} (it has {old.get(name)})" for name in differing)
        raise ValueError(
            f"{run.path} is a run of another configuration, and cannot go on with {lines}"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_whole(run: RunFolder) -> bool:
    if not run.is_finished:
        return False
    try:
        load(run.path / MODEL)
    except ValueError as error:
        warnings.warn(
            f"the model is made again from the last checkpoint: {error}",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True


def _append_metrics(path: Path, step: int, loss: np.ndarray, grad_norm: np.ndarray) -> None:
    lines = [
        json.dumps({"step": step + i, "loss": float(loss[i]), "grad_norm": float(grad_norm[i])})
        + "\n"
        for i in range(len(loss))
    ]
    with open(path, "a", encoding="ascii") as file:
        file.writelines(lines)


def _cut_metrics(path: Path, step: int) -> None:
    """Removes what a killed process wrote after its last checkpoint; it will be written again."""
    if path.exists():
        kept = path.read_bytes().splitlines(keepends=True)[:step]
        write_file(path, kept)


def _last_loss(path: Path) -> float | None:
    lines = (path / METRICS).read_text().splitlines() if (path / METRICS).exists() else []
    return json.loads(lines[-1])["loss"] if lines else None


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


@contextlib.contextmanager
def _hear_sigterm() -> Iterator[threading.Event]:
    """Sets the event at SIGTERM instead of dying; signals are the main thread's alone."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
