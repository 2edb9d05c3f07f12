"""`lore-jax evaluate`: how well a run predicts choices it has not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    from lore_jax.cli.models import LoadedModel
    from lore_jax.data.preferences import Preferences
    from lore_jax.evaluation.evaluate import Condition, Method
    from lore_jax.runs.folder import Parts, RunFolder


@dataclasses.dataclass(frozen=True)
class Config:
    """Tests a run on the pairs its split kept, beside ridge Bradley-Terry, the reference head and
    the controls.

    Writes results.json into the run (or to --out) and says whether personalising helps.

    Attributes:
        run: a finished run.
        cache: where the run's cache is now, if it was moved.
        test: test on this cache instead, on pairs of the run's users, told by their names; pairs
            that were fitted are refused.
        out: the results file; None: results.json in the run.
        shots: numbers of shots of unseen users.
        baselines: also fit ridge Bradley-Terry on the run's training pairs, its ridge chosen on
            validation.
        seed: draws the shots and the other users of the control.
        overwrite: replace results that are there.
    """

    run: Annotated[Path, POSITIONAL]
    cache: Path | None = None
    test: Path | None = None
    out: Path | None = None
    shots: tuple[int, ...] = (0, 5, 10, 20, 40)
    baselines: bool = True
    seed: int = 0
    overwrite: bool = False


def run(config: Config) -> dict[str, Any]:
    """Evaluates, writes the results, and sums them up."""
    from lore_jax.cli.models import load_model
    from lore_jax.evaluation.evaluate import evaluate
    from lore_jax.evaluation.results import make_results, plain, write_results
    from lore_jax.runs.folder import RESULTS, read_run
    from lore_jax.storage.cache.manifest import read_manifest

    run = read_run(config.run)
    out = config.run / RESULTS if config.out is None else config.out
    if out.exists() and not config.overwrite:
        raise FileExistsError(
            f"{out} is there already: overwrite it explicitly or choose another file"
        )
    if any(count < 0 for count in config.shots) or not config.shots:
        raise ValueError(f"shots is {config.shots}: numbers of 0 or more are expected")
    loaded = load_model(config.run)
    parts = run.load_parts(config.cache)
    conditions, method, entry = _what_to_test(config, run, loaded, parts)
    methods = {str(run.manifest["config"]["fit"]["family"]): method}
    if config.baselines:
        methods |= _baselines(run, parts.train)
    # Results of runs that differ in their seed alone are joined by `report`: the seed numbers the
    # split.
    about = {"data": entry["data"], "split": entry["split"]}
    rows = evaluate(methods, conditions, shots=config.shots, seed=config.seed, **about)
    axes = {entry["data"]: _understand(run, loaded, parts, config.cache)}
    results = make_results(
        rows,
        [entry],
        name="evaluate",
        config=run.manifest["config"],
        seed=config.seed,
        run=run.manifest,
        axes=axes,
    )
    note = (
        read_manifest(config.test)["note"]
        if config.test is not None
        else run.manifest["data"]["note"]
    )
    results["note"] = note
    results["conclusion"] = said = plain(_verdict(results, next(iter(methods))))
    write_results(out, results)
    averages = [
        {
            name: row[name]
            for name in ("method", "control", "users", "items", "shots", "num_users", "num_pairs")
        }
        | {name: row[name] for name in ("accuracy", "log_loss", "brier")}
        for row in results["rows"]
    ]
    shown = _table(results, config.shots)
    return {
        "results": str(out),
        "conclusion": said,
        "note": note,
        "averages": averages,
        "table": shown,
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    said = [result["results"], "", *result["table"].splitlines(), ""]
    sentences = [
        result["conclusion"]["statement"] + "." if result["conclusion"] else None,
        result["note"],
    ]
    return [*said, *(sentence for sentence in sentences if sentence)]


def _what_to_test(
    config: Config, run: RunFolder, loaded: LoadedModel, parts: Parts
) -> tuple[list[Condition], Method, dict[str, Any]]:
    """The conditions, the run as a method for their users, and the split's entry in the results."""
    import numpy as np

    from lore_jax.cli.models import refuse_other_encoder
    from lore_jax.evaluation.evaluate import method
    from lore_jax.evaluation.results import describe_split
    from lore_jax.runs.test_sets import conditions_of_other_pairs, run_conditions
    from lore_jax.storage.cache.reader import load_cache

    assert loaded.users is not None
    group_by, number = run.manifest["group_by"], run.manifest["config"]["seed"]
    if config.test is None:
        name = Path(run.manifest["data"]["cache"]).name
        conditions = run_conditions(parts)
        split = run.manifest["split"]
        users = {
            "seen": parts.train.user_ids,
            "unseen": parts.shots.user_ids if parts.shots is not None else None,
        }
        counts = {
            "seen": parts.train.num_users,
            "unseen": parts.shots.num_users if parts.shots is not None else 0,
        }
        names = {who: np.arange(counts[who]) if ids is None else ids for who, ids in users.items()}
        items = list(dict.fromkeys(condition.items for condition in conditions))
        about = {
            "data": name,
            "split": number,
            "digest": split["digest"],
            "dropped": split["dropped"],
        }
        entry = describe_split(names, items=items, group_by=group_by, **about)
        return conditions, method(loaded.model, loaded.users), entry
    refuse_other_encoder(loaded, config.test)
    other = conditions_of_other_pairs(
        parts.train, loaded.users, load_cache(config.test), config.test
    )
    items = [condition.items for condition in other.conditions]
    about = {
        "data": config.test.name,
        "split": number,
        "dropped": {"pairs_of_strangers": other.pairs_of_strangers},
    }
    entry = describe_split(
        {"seen": other.names}, items=items, group_by="response", digest="", **about
    )
    return other.conditions, method(loaded.model, other.users), entry


def _baselines(run: RunFolder, train: Preferences) -> dict[str, Method]:
    import jax

    from lore_jax.evaluation.evaluate import Method, adapting
    from lore_jax.fitting.config import RIDGE_BRADLEY_TERRY
    from lore_jax.fitting.fit import fit
    from lore_jax.model.model import reference_head

    out = {}
    fitted = run.manifest["config"]["fit"]
    config = dataclasses.replace(
        RIDGE_BRADLEY_TERRY,
        holdout=fitted["holdout"],
        folds=fitted["folds"],
        group_by=run.manifest["group_by"],
    )
    key = jax.random.key(run.manifest["config"]["seed"])
    out["ridge Bradley-Terry"] = Method(adapting(fit(train, config, key=key)[0]))
    if train.head is not None:
        out["reference head"] = Method(adapting(reference_head(train.head)))
    return out


def _understand(
    run: RunFolder, loaded: LoadedModel, parts: Parts, cache: Path | None
) -> dict[str, Any]:
    """Along which axes users disagree, with texts where the cache has them, and whether the fit has
    collapsed.
    """
    import numpy as np

    from lore_jax.evaluation.diagnostics import collapse
    from lore_jax.evaluation.disagreement import describe_axes, prompts_of_responses, with_texts
    from lore_jax.storage.cache.reader import read_texts
    from lore_jax.users.adapt import adapt

    assert loaded.users is not None
    of_pairs = [parts.train, *([] if parts.shots is None else [parts.shots]), *parts.tests.values()]
    prompt = np.max([prompts_of_responses(prefs) for prefs in of_pairs], axis=0)
    groups = {"seen users": loaded.users}
    if parts.shots is not None:
        groups["unseen users"] = adapt(loaded.model, parts.shots)
    table = parts.train.embeddings
    described = describe_axes(loaded.model, groups, table, prompt=prompt)
    texts = read_texts(run.manifest["data"]["cache"] if cache is None else cache)
    return {
        **with_texts(described, texts),
        "collapse": collapse(loaded.model, loaded.users, table, prompt=prompt)._asdict(),
    }


def _verdict(results: dict[str, Any], method: str) -> dict[str, Any] | None:
    """About the hardest question that the rows can answer: new users and new items where there are
    any.
    """
    from lore_jax.evaluation.conclusion import conclude

    for users in ("unseen", "seen"):
        for items in ("new items", "known items"):
            rows = [
                row
                for row in results["rows"]
                if (row["users"], row["items"], row["method"]) == (users, items, method)
                and row["control"] is None
            ]
            counts = [row["shots"] for row in rows if row["shots"]]
            if users == "seen" and rows:
                return conclude(results, method, users=users, items=items, shots=None)
            if counts:
                shots = min(counts, key=lambda count: abs(count - 20))
                return conclude(results, method, users=users, items=items, shots=shots)
    return None


def _table(results: dict[str, Any], shots: tuple[int, ...]) -> str:
    from lore_jax.reporting.tables import four_way_columns, method_lines, table

    nearest = min(shots, key=lambda count: abs(count - 20))
    return table(results, method_lines(results), four_way_columns(results, shots=nearest))
