"""`lore-jax inspect`: what a folder holds, corrupt parts included."""

# Which fields a report has follows from its kind.
# pyright: reportTypedDictNotRequiredAccess=false

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Required, TypedDict, cast

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    from lore_jax.evaluation.schema import Diagnostics
    from lore_jax.runs.folder import RunFolder

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


class Report(TypedDict, total=False):
    """What is known of a folder; which fields there are depends on its kind and on corruption."""

    kind: Required[Literal["cache", "run", "model", "checkpoints"]]
    path: Required[str]
    corrupt: Required[list[str]]
    finished: bool
    # of a cache (`describe_cache`)
    files: dict[str, int]
    unexpected_files: list[str]
    encoder: dict[str, object]
    dim: int
    dtype: str
    responses: int
    pairs: int
    users: int
    note: str | None
    # of checkpoints, of which a saved model is one
    steps: list[int]
    arrays: dict[str, str]
    extra: dict[str, object]
    parts: dict[str, dict[str, object]]
    temperature: float
    named_users: int
    # of a run (`run.json`)
    config: dict[str, Any]
    choice: dict[str, float]
    data: dict[str, Any]
    split: dict[str, Any] | None
    devices: int
    versions: dict[str, str]
    num_steps: int
    steps_taken: int
    checkpoints: list[int]
    model: list[int]
    evaluated: bool
    diagnostics: Diagnostics | None


def run(config: Config) -> Report:
    """Looks at the folder."""
    path = config.path
    if not path.exists() and not path.with_name(path.name + ".partial").exists():
        raise FileNotFoundError(
            f"{path} does not exist: a cache, a run or a saved model is expected"
        )
    if path.is_file():
        raise ValueError(
            f"{path} is a file: the folder of a cache, a run or a saved model is expected"
        )
    if (path / "run.json").exists():
        return _describe_run(path)
    if path.is_dir() and any(entry.is_dir() and entry.name.isdecimal() for entry in path.iterdir()):
        return _describe_checkpoints(path)
    from lore_jax.storage.cache.manifest import describe_cache

    try:
        return cast(Report, {"kind": "cache", **describe_cache(path, verify=config.verify)})
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is neither a cache, nor a run, nor a saved model"
        ) from None


def lines(result: Report) -> list[str]:
    """The report for people."""
    describe = {
        "cache": _cache_lines,
        "run": _run_lines,
        "model": _model_lines,
        "checkpoints": _checkpoint_lines,
    }
    text, corrupt = describe[result["kind"]](result), result["corrupt"]
    text += [f"  corrupt: {line}" for line in corrupt[:_SHOWN]]
    if len(corrupt) > _SHOWN:
        text.append(f"  and {len(corrupt) - _SHOWN} corrupt parts more")
    return text if corrupt else [*text, "  no corruption found"]


def _describe_checkpoints(path: Path) -> Report:
    """Checkpoints, or a saved model, which is stored as one."""
    from lore_jax.storage.checkpoint.store import CheckpointStore

    with CheckpointStore(path, read_only=True) as store:
        steps = store.describe()
    whole = [step for step in steps if not step["corrupt"]]
    newest = whole[-1] if whole else {"arrays": {}, "extra": {}}
    report: Report = {
        "kind": "checkpoints",
        "path": str(path),
        "corrupt": [step["corrupt"] for step in steps if step["corrupt"]],
        "steps": [step["step"] for step in steps],
        "arrays": newest["arrays"],
    }
    extra = newest["extra"]
    if "parts" not in extra:
        return {**report, "extra": extra}
    user_ids = extra.pop("user_ids", None)
    return cast(Report, {**report, **extra, "kind": "model", "named_users": len(user_ids or [])})


def _describe_run(path: Path) -> Report:
    from lore_jax.runs.folder import CHECKPOINTS, METRICS, MODEL, RESULTS, read_run
    from lore_jax.storage.files import find_corruption

    report: Report = {"kind": "run", "path": str(path), "corrupt": []}
    try:
        run = read_run(path)
    except ValueError as error:
        return {**report, "corrupt": [str(error)]}
    manifest, metrics = run.manifest, path / METRICS
    for name in ("config", "choice", "data", "split", "devices", "versions"):
        report[name] = manifest[name]
    report["num_steps"] = manifest["steps"]
    report["steps_taken"] = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    report["finished"], report["evaluated"] = run.is_finished, (path / RESULTS).exists()
    if manifest["split"] is not None and (line := find_corruption(path, manifest["split"]["file"])):
        report["corrupt"].append(line)
    for name, folder in (("checkpoints", CHECKPOINTS), ("model", MODEL)):
        if (path / folder).is_dir():
            described = _describe_checkpoints(path / folder)
            report[name] = described.get("steps", [])
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
    data, split = report["data"], report["split"]
    finished = report["finished"]
    state = "finished" if finished else "not finished: `lore-jax fit --resume` goes on with it"
    choice = ", ".join(f"{name} {value:g}" for name, value in report["choice"].items())
    checkpoints = ", ".join(map(str, report.get("checkpoints", [])))
    text = [
        f"{report['path']}: a run, {state}",
        f"  method {report['config']['fit']['method']['name']}: {choice}",
        f"  of {data['cache']}: {data['responses']:,} responses, "
        f"{data['pairs']:,} pairs by {data['users']:,} users",
    ]
    if split is not None:
        parts = split["parts"]
        text.append(
            f"  {parts['train']:,} pairs of {parts['users/seen']:,} users fitted, "
            f"{parts['users/unseen']:,} users kept for the test"
        )
    text.append(
        f"  {report['steps_taken']:,} of {report['num_steps']:,} steps"
        + (f", checkpoints of {checkpoints}" if checkpoints else "")
    )
    if report["evaluated"]:
        text.append("  evaluated: results.json")
    if diagnostics := report.get("diagnostics"):
        from lore_jax.evaluation.diagnostics import diagnostic_lines

        text += [f"  {line}" for line in diagnostic_lines(diagnostics)]
    elif finished:
        text.append("  its cache has moved: how much of the fit is in use is unknown")
    return text


def _cache_lines(report: Report) -> list[str]:
    finished, files = report["finished"], report["files"]
    state = "a cache" if finished else "an interrupted write, which the same command resumes"
    text = [f"{report['path']}: {state}, {sum(files.values()):,} bytes in {len(files)} files"]
    if "responses" in report:
        encoder = report["encoder"].get("model", "an unnamed encoder")
        text.append(
            f"  {report['responses']:,} responses, dim {report['dim']}, {report['dtype']}, "
            f"by {encoder}"
        )
    if "pairs" in report:
        text.append(f"  {report['pairs']:,} pairs by {report['users']:,} users")
    if note := report.get("note"):
        text.append(f"  {note}")
    if report["unexpected_files"]:
        text.append(f"  unexpected files: {', '.join(report['unexpected_files'][:_SHOWN])}")
    return text


def _model_lines(report: Report) -> list[str]:
    parts, arrays = report["parts"], report["arrays"]
    basis, prior = parts["basis"], parts["prior"]
    text = [
        f"{report['path']}: a saved model",
        f"  {basis['name']} of rank {basis['rank']}, {prior['name']}, "
        f"temperature {report['temperature']:g}",
    ]
    text += [f"  {name} {array}" for name, array in arrays.items() if name.startswith("params/")]
    if "users/weights" in arrays:
        count = int(arrays["users/weights"].split("[")[1].split(",")[0])
        text.append(f"  {count:,} users, {'with' if report['named_users'] else 'without'} names")
    return text


def _checkpoint_lines(report: Report) -> list[str]:
    steps = ", ".join(map(str, report["steps"]))
    return [f"{report['path']}: checkpoints of steps {steps}, {len(report['arrays'])} arrays each"]
