"""`lore-jax inspect`: what a folder holds, corrupt parts included."""

# Which fields a report has follows from its kind.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Required, cast

from lore_jax.cli.arguments import POSITIONAL
from lore_jax.storage.cache.manifest import CacheReport, describe_cache, partial_of

if TYPE_CHECKING:
    from lore_jax.evaluation.schema import Diagnostics
    from lore_jax.runs.folder import RunData, RunFolder, SplitManifest

_SHOWN = 5  # corrupt parts listed by name


@dataclasses.dataclass(frozen=True)
class Config:
    """Says what a cache, a run or a saved model holds.

    The exit status is 1 where something is corrupt.

    Attributes:
        path: the folder.
        verify: full reads every file of a cache, quick looks at sizes only.
    """

    path: Annotated[Path, POSITIONAL]
    verify: Literal["full", "quick"] = "full"


class Report(CacheReport, total=False):
    """What is known of a folder: a `CacheReport`, or what checkpoints, a model or a run hold."""

    kind: Required[Literal["cache", "run", "model", "checkpoints"]]
    steps: list[int]
    arrays: dict[str, str]
    extra: dict[str, object]
    parts: dict[str, dict[str, object]]
    temperature: float
    named_users: int
    config: dict[str, Any]
    choice: dict[str, float]
    data: RunData
    split: SplitManifest | None
    as_said: bool
    answers: dict[str, Any]
    devices: dict[str, object]
    versions: dict[str, str | None]
    num_steps: int
    steps_taken: int
    checkpoints: list[int]
    model: list[int]
    evaluated: bool
    diagnostics: Diagnostics | None


def run(config: Config) -> Report:
    """Looks at the folder."""
    path, kinds = config.path, "a cache, a run or a saved model"
    if not path.exists() and not partial_of(path).exists():
        raise FileNotFoundError(f"{path} does not exist: {kinds} is expected")
    if path.is_file():
        raise ValueError(f"{path} is a file: the folder of {kinds} is expected")
    if (path / "run.json").exists():
        return _describe_run(path)
    if path.is_dir() and any(entry.is_dir() and entry.name.isdecimal() for entry in path.iterdir()):
        return _describe_checkpoints(path)
    try:
        return {"kind": "cache", **describe_cache(path, verify=config.verify)}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is neither a cache, nor a run, nor a saved model"
        ) from None


def lines(result: Report) -> list[str]:
    """The report for people."""
    describe = {"cache": _cache_lines, "run": _run_lines, "model": _model_lines}
    text, corrupt = describe.get(result["kind"], _checkpoint_lines)(result), result["corrupt"]
    text += [f"  corrupt: {line}" for line in corrupt[:_SHOWN]]
    if len(corrupt) > _SHOWN:
        text.append(f"  and {len(corrupt) - _SHOWN} corrupt parts more")
    return text if corrupt else [*text, "  no corruption found"]


def _describe_checkpoints(path: Path) -> Report:
    """Checkpoints, or a saved model, which is stored as one."""
    from lore_jax.storage.checkpoint.store import CheckpointStore

    with CheckpointStore(path, read_only=True) as store:
        steps = store.describe()
    intact = [step for step in steps if not step["corrupt"]]
    arrays, extra = (intact[-1]["arrays"], intact[-1]["extra"]) if intact else ({}, {})
    report: Report = {
        "kind": "checkpoints",
        "path": str(path),
        "corrupt": [step["corrupt"] for step in steps if step["corrupt"]],
        "steps": [step["step"] for step in steps],
        "arrays": arrays,
    }
    if "parts" not in extra:
        return {**report, "extra": extra}
    from lore_jax.model.saved import SavedFields
    from lore_jax.storage.json_fields import check_fields

    try:
        check_fields(extra, SavedFields, str(path))
    except ValueError as error:
        return {**report, "extra": {}, "corrupt": [*report["corrupt"], str(error)]}
    user_ids = extra.pop("user_ids", None)
    return cast(Report, {**report, **extra, "kind": "model", "named_users": len(user_ids or [])})


def _describe_run(path: Path) -> Report:
    from lore_jax.evaluation.results import read_results
    from lore_jax.runs.folder import CHECKPOINTS, METRICS, MODEL, RESULTS, read_run
    from lore_jax.runs.metrics import find_log_corruption
    from lore_jax.storage.files import find_corruption

    report: Report = {"kind": "run", "path": str(path), "corrupt": []}
    try:
        run = read_run(path)
    except ValueError as error:
        return {**report, "corrupt": [str(error)]}
    manifest, metrics = run.manifest, path / METRICS
    for name in ("config", "choice", "data", "split", "devices", "versions"):
        report[name] = manifest[name]  # pyright: ignore[reportGeneralTypeIssues]
    report["num_steps"], report["as_said"] = manifest["steps"], run.as_said
    report["steps_taken"] = len(metrics.read_bytes().splitlines()) if metrics.is_file() else 0
    report["finished"], report["evaluated"] = run.is_finished, (path / RESULTS).exists()
    if report["evaluated"]:
        try:
            read_results(path / RESULTS)
        except ValueError as error:
            report["corrupt"].append(str(error))
    if manifest["split"] and (line := find_corruption(path, manifest["split"]["file"])):
        report["corrupt"].append(line)
    for name, folder in (("checkpoints", CHECKPOINTS), ("model", MODEL)):
        if (path / folder).is_dir():
            described = _describe_checkpoints(path / folder)
            extra = described.get("extra", {})
            if folder == CHECKPOINTS and (line := find_log_corruption(metrics, extra)):
                report["corrupt"].append(line)
            report[name] = described["steps"]
            report["corrupt"] += described["corrupt"]
    if run.is_finished and not report["corrupt"]:
        report["diagnostics"] = _diagnose(run)
    return report


def _diagnose(run: RunFolder) -> Diagnostics | None:
    """How much of the fit is in use over the responses of its cache; None without the cache."""
    from lore_jax.evaluation.diagnostics import diagnose
    from lore_jax.evaluation.disagreement import prompts_of_responses
    from lore_jax.model.saved import load
    from lore_jax.runs.folder import MODEL

    try:
        train = run.load_parts().train
    except (FileNotFoundError, ValueError):
        return None
    model, users = load(run.path / MODEL)
    assert users is not None
    return diagnose(model, users, train.embeddings, prompt=prompts_of_responses(train))


def _run_lines(report: Report) -> list[str]:
    if "config" not in report:
        return [f"{report['path']}: a run"]
    data, finished = report["data"], report["finished"]
    unit = "answers" if report["as_said"] else "pairs"
    state = "finished" if finished else "not finished: `lore-jax fit --resume` goes on with it"
    choice = ", ".join(f"{name} {value:g}" for name, value in report["choice"].items())
    text = [
        f"{report['path']}: a run, {state}",
        f"  method {report['config']['fit']['method']['name']}: {choice}",
        f"  of {data['cache']}: {data['responses']:,} responses, "
        f"{data['pairs']:,} pairs by {data['users']:,} users",
    ]
    if split := report["split"]:
        sizes = split["parts"]
        text.append(
            f"  {sizes['train']:,} {unit} of {sizes['users/seen']:,} users fitted, "
            f"{sizes['users/unseen']:,} users kept for the test"
        )
        text += [f"  {line}" for line in split.get("summary", [])]
    checkpoints = ", ".join(map(str, report.get("checkpoints", [])))
    steps = f"  {report['steps_taken']:,} of {report['num_steps']:,} steps"
    text.append(f"{steps}, checkpoints of {checkpoints}" if checkpoints else steps)
    if report["evaluated"]:
        text.append("  evaluated: results.json")
    if diagnostics := report.get("diagnostics"):
        from lore_jax.evaluation.diagnostics import diagnostic_lines

        text += [f"  {line}" for line in diagnostic_lines(diagnostics)]
    elif finished:
        text.append("  its cache has moved: how much of the fit is in use is unknown")
    return text


def _cache_lines(report: Report) -> list[str]:
    files, unexpected = report["files"], report["unexpected_files"]
    finished = report["finished"]
    state = "a cache" if finished else "an interrupted write, which the same command resumes"
    text = [f"{report['path']}: {state}, {sum(files.values()):,} bytes in {len(files)} files"]
    if "responses" in report:
        encoder = report["encoder"].get("model", "an unnamed encoder")
        table = f"  {report['responses']:,} responses, dim {report['dim']}, {report['dtype']}"
        text.append(f"{table}, by {encoder}")
    if "pairs" in report:
        text.append(f"  {report['pairs']:,} pairs by {report['users']:,} users")
    if note := report.get("note"):
        text.append(f"  {note}")
    if unexpected:
        text.append(f"  unexpected files: {', '.join(unexpected[:_SHOWN])}")
    return text


def _model_lines(report: Report) -> list[str]:
    arrays, basis, prior = report["arrays"], report["parts"]["basis"], report["parts"]["prior"]
    about = f"{basis['name']} of rank {basis.get('rank')}, {prior['name']}"
    text = [f"{report['path']}: a saved model", f"  {about}, temperature {report['temperature']:g}"]
    text += [f"  {name} {array}" for name, array in arrays.items() if name.startswith("params/")]
    if "users/weights" in arrays:
        count = re.sub(r".*\[(\d*).*", r"\1", arrays["users/weights"])
        text.append(
            f"  {int(count or 0):,} users, {'with' if report['named_users'] else 'without'} names"
        )
    if said := report.get("answers"):
        scales = ", ".join(said["scales"]) or "pairs and rankings, which need no scale"
        lapse = f", {said['lapse']:g} of them at random" if said["lapse"] else ""
        text.append(f"  answers as they were said: {scales}; ties by {said['ties']}{lapse}")
    return text


def _checkpoint_lines(report: Report) -> list[str]:
    steps = ", ".join(map(str, report["steps"]))
    return [f"{report['path']}: checkpoints of steps {steps}, {len(report['arrays'])} arrays each"]
