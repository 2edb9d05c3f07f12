"""`lore-jax inspect`: what a folder holds, damaged parts included."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from lore_jax.evaluation.schema import Diagnostics
    from lore_jax.runs.folder import RunFolder

_SHOWN = 5  # damaged parts listed by name


@dataclasses.dataclass(frozen=True)
class Config:
    """Says what a cache, a run or a saved model holds. The exit status is 1 where something is
    damaged.

    Attributes:
        path: the folder.
        verify: full reads every file of a cache, quick looks at sizes only.
    """

    path: Annotated[Path, tyro.conf.Positional]
    verify: Literal["full", "quick"] = "full"


def run(config: Config) -> dict[str, Any]:
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
        return {"kind": "cache", **describe_cache(path, verify=config.verify)}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} is neither a cache, nor a run, nor a saved model"
        ) from None


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    kinds = {
        "cache": _cache_lines,
        "run": _run_lines,
        "model": _model_lines,
        "checkpoints": _checkpoint_lines,
    }
    said = kinds[result["kind"]](result)
    damaged = result["damaged"]
    said += [f"  damaged: {line}" for line in damaged[:_SHOWN]]
    if len(damaged) > _SHOWN:
        said.append(f"  and {len(damaged) - _SHOWN} damaged parts more")
    return said if damaged else [*said, "  no damage found"]


def _describe_checkpoints(path: Path) -> dict[str, Any]:
    from lore_jax.storage.checkpoint.store import CheckpointStore

    with CheckpointStore(path, read_only=True) as store:
        steps = store.describe()
    damaged = [step["damaged"] for step in steps if step["damaged"]]
    whole = [step for step in steps if not step["damaged"]]
    newest = whole[-1] if whole else {"arrays": {}, "extra": {}}
    report = {
        "kind": "checkpoints",
        "path": str(path),
        "steps": [step["step"] for step in steps],
        "damaged": damaged,
    }
    if "basis" not in newest["extra"]:
        return {**report, "arrays": newest["arrays"], "extra": newest["extra"]}
    extra = newest["extra"]
    user_ids = extra.pop("user_ids", None)
    return {
        **report,
        "kind": "model",
        "arrays": newest["arrays"],
        **extra,
        "named_users": len(user_ids or []),
    }


def _describe_run(path: Path) -> dict[str, Any]:
    from lore_jax.runs.folder import CHECKPOINTS, METRICS, MODEL, RESULTS, read_run
    from lore_jax.storage.files import damage

    report: dict[str, Any] = {"kind": "run", "path": str(path), "damaged": []}
    try:
        run = read_run(path)
    except ValueError as error:
        return {**report, "damaged": [str(error)]}
    manifest = run.manifest
    report |= {
        name: manifest[name]
        for name in ("config", "choice", "data", "split", "devices", "versions", "steps")
    }
    if manifest["split"] is not None and (line := damage(path, manifest["split"]["file"])):
        report["damaged"].append(line)
    for part in (CHECKPOINTS, MODEL):
        if (path / part).is_dir():
            described = _describe_checkpoints(path / part)
            report[part] = described["steps"]
            report["damaged"] += described["damaged"]
    metrics = path / METRICS
    steps_made = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
    evaluated = (path / RESULTS).exists()
    report |= {"steps_made": steps_made, "finished": run.is_finished, "evaluated": evaluated}
    if run.is_finished and not report["damaged"]:
        report["diagnostics"] = _diagnose(run)
    return report


def _diagnose(run: RunFolder) -> Diagnostics | None:
    """How much of the fit is in use, over the responses it was fitted on; None without its cache."""
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


def _run_lines(result: dict[str, Any]) -> list[str]:
    if "config" not in result:
        return [f"{result['path']}: a run"]
    data, split = result["data"], result["split"]
    state = (
        "finished"
        if result["finished"]
        else "not finished: `lore-jax fit --resume` goes on with it"
    )
    choice = ", ".join(f"{name} {value:g}" for name, value in result["choice"].items())
    said = [
        f"{result['path']}: a run, {state}",
        f"  {result['config']['fit']['family']} weights: {choice}",
        f"  of {data['cache']}: {data['responses']:,} responses, {data['pairs']:,} pairs by {data['users']:,} users",
    ]
    if split is not None:
        parts = split["parts"]
        said.append(
            f"  {parts['train']:,} pairs of {parts['users/seen']:,} users fitted, {parts['users/unseen']:,} users kept out"
        )
    kept = (
        f", checkpoints of {', '.join(map(str, result['checkpoints']))}"
        if result.get("checkpoints")
        else ""
    )
    said.append(f"  {result['steps_made']:,} of {result['steps']:,} steps{kept}")
    if result["evaluated"]:
        said.append("  evaluated: results.json")
    if result.get("diagnostics"):
        from lore_jax.evaluation.diagnostics import diagnostic_lines

        said += [f"  {line}" for line in diagnostic_lines(result["diagnostics"])]
    elif result["finished"]:
        said.append("  its cache is not where it was: how much of the fit is in use cannot be told")
    return said


def _cache_lines(result: dict[str, Any]) -> list[str]:
    state = (
        "a cache"
        if result["finished"]
        else "an interrupted write of a cache, which the same command resumes"
    )
    said = [
        f"{result['path']}: {state}, {sum(result['files'].values()):,} bytes in {len(result['files'])} files"
    ]
    if "responses" in result:
        model = result["encoder"].get("model", "an unnamed encoder")
        said.append(
            f"  {result['responses']:,} responses, dim {result['dim']}, {result['dtype']}, by {model}"
        )
    if "pairs" in result:
        said.append(f"  {result['pairs']:,} pairs by {result['users']:,} users")
    if result.get("note"):
        said.append(f"  {result['note']}")
    if result["strangers"]:
        said.append(f"  files that are no part of it: {', '.join(result['strangers'][:_SHOWN])}")
    return said


def _model_lines(result: dict[str, Any]) -> list[str]:
    basis, arrays = result["basis"], result["arrays"]
    said = [
        f"{result['path']}: a saved model",
        f"  {basis['name']} of rank {basis['rank']}, {result['family']} weights, temperature {result['temperature']:g}",
    ]
    said += [f"  {name} {kind}" for name, kind in arrays.items() if name.startswith("params/")]
    if "users/weights" in arrays:
        count = arrays["users/weights"].split("[")[1].split(",")[0]
        said.append(
            f"  {int(count):,} users, {'with' if result['named_users'] else 'without'} names"
        )
    return said


def _checkpoint_lines(result: dict[str, Any]) -> list[str]:
    steps = ", ".join(map(str, result["steps"]))
    return [f"{result['path']}: checkpoints of steps {steps}, {len(result['arrays'])} arrays each"]
