"""`lore-jax evaluate`: how well a run predicts choices it has not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lore_jax.cli.models import LoadedModel
    from lore_jax.cli.tested import Tested
    from lore_jax.evaluation.evaluate import Condition, ConditionByAnswers
    from lore_jax.evaluation.schema import AnswerRow, AxesEntry, Conclusion, CurveRow, SplitEntry
    from lore_jax.methods.as_said import ByStrictPairs
    from lore_jax.methods.base import Predictor
    from lore_jax.runs.folder import Parts, RunFolder


@dataclasses.dataclass(frozen=True)
class Config:
    """Tests a run on the pairs that its split kept out of the fit.

    Beside it stand ridge Bradley-Terry, the reference head, and two controls: the weights of a
    mismatched user, and of the user who was asked about the most similar responses; where answers
    were fitted as they were said, the same method on the strict pairs that they make. Writes
    results.json into the run (or to --out) and says whether personalising helps. Beside the run's
    model, the same is written as a model card (README.md).

    Attributes:
        run: a finished run.
        cache: where the run's cache is now, if it was moved.
        test: test on this cache instead, on pairs of the run's users, recognised by their names;
            pairs that were fitted are refused.
        out: the results file; None: results.json in the run.
        shots: numbers of shots of unseen users.
        baselines: also fit ridge Bradley-Terry on the run's training pairs, its ridge chosen on
            validation.
        learning_curve: also fit a quarter and half of the users, with the settings of the run, for
            what more users would bring; as much work as two more fits.
        license: named on the model card, for instance mit.
        seed: draws the shots and the users of the mismatched-user control.
        overwrite: replace existing results.
    """

    run: Annotated[Path, POSITIONAL]
    cache: Path | None = None
    test: Path | None = None
    out: Path | None = None
    shots: tuple[int, ...] = (0, 5, 10, 20, 40)
    baselines: bool = True
    learning_curve: bool = False
    license: str | None = None
    seed: int = 0
    overwrite: bool = False


class Summary(TypedDict):
    """What the command says; `note` must be said beside every number, `table` is Markdown.

    `conclusions` has one for each condition that can tell; `conclusion` is the first of them.
    Where answers were fitted as they were said, `answers` has a table of every condition, and
    `over_strict_pairs` what is gained over the strict pairs they make.
    """

    results: str
    conclusion: Conclusion | None
    conclusions: dict[str, Conclusion]
    note: str | None
    averages: list[dict[str, object]]
    table: str
    answers: dict[str, str]
    over_strict_pairs: list[str]


def run(config: Config) -> Summary:
    """Evaluates, writes the results, and sums them up."""
    from lore_jax.cli.models import load_model
    from lore_jax.cli.tested import what_to_test
    from lore_jax.evaluation.answer_gains import over_strict_pairs
    from lore_jax.evaluation.conclusion import conclusions_of
    from lore_jax.evaluation.evaluate import evaluate
    from lore_jax.evaluation.names import nearest_shots
    from lore_jax.evaluation.results import make_results, plain, write_results
    from lore_jax.model.saved import CARD
    from lore_jax.reporting.answer_tables import answer_tables, condition_label
    from lore_jax.reporting.model_card import check_license, model_card
    from lore_jax.reporting.tables import four_way_columns, method_lines, table
    from lore_jax.runs.folder import MODEL, RESULTS, read_run
    from lore_jax.storage.cache.manifest import read_manifest
    from lore_jax.storage.files import refuse_existing, write_file

    run = read_run(config.run)
    out = config.run / RESULTS if config.out is None else config.out
    refuse_existing(out, config.overwrite)
    if any(count < 0 for count in config.shots) or not config.shots:
        raise ValueError(f"shots is {config.shots}: numbers of 0 or more are expected")
    check_license(config.license)
    if config.learning_curve and config.test is not None:
        raise ValueError("--learning-curve needs the unseen users of the run: --test has none")
    if config.learning_curve and not any(config.shots):
        raise ValueError(f"shots is {config.shots}: --learning-curve needs a number above 0")
    if config.seed < 0:
        raise ValueError(f"seed is {config.seed}: 0 or more is expected")
    if config.learning_curve and run.as_said:
        raise ValueError("--learning-curve fits strict pairs: this run has fitted what was said")
    loaded, fitted = load_model(config.run), run.manifest
    tested = what_to_test(run, loaded, cache=config.cache, test=config.test)
    conditions, entry = tested.conditions, tested.entry
    name, seed = fitted["config"]["fit"]["method"]["name"], config.seed
    methods = {name: tested.predictor, **(_baselines(run, tested) if config.baselines else {})}
    data, split = entry["data"], entry["split"]
    rows = evaluate(
        methods,
        conditions,
        shots=config.shots,
        group_by=entry["group_by"],
        data=data,
        split=split,
        seed=seed,
    )
    axes = {data: _describe_users(run, loaded, tested, config.cache)}
    about = {"config": fitted["config"], "seed": seed, "axes": axes, "method": name, "run": fitted}
    results = make_results(rows, [entry], name="evaluate", **about)
    note = fitted["data"]["note"] if config.test is None else read_manifest(config.test)["note"]
    if tested.answers:
        results["answers"] = plain(_answer_rows(config, tested, name))
    conclusions = plain(conclusions_of(results, name))
    conclusion = next(iter(conclusions.values()), None)
    results["note"], results["conclusion"], results["conclusions"] = note, conclusion, conclusions
    if config.learning_curve:
        results["learning_curve"] = plain(
            _learning_curve(config, run, tested.parts, conditions, entry)
        )
    card = model_card(results, license=config.license)
    write_results(out, results)
    path = config.run / MODEL / CARD
    # Other pairs tell less of the model; and what somebody wrote is kept.
    if config.test is None and config.out is None and (config.overwrite or not path.exists()):
        write_file(path, [card.encode()])
    columns = four_way_columns(results, shots=nearest_shots(config.shots))
    averages = [
        {name: value for name, value in row.items() if not isinstance(value, dict)}
        for row in results["rows"]
    ]
    return {
        "results": str(out),
        "conclusion": conclusion,
        "conclusions": conclusions,
        "note": note,
        "averages": averages,
        "table": table(results, method_lines(results), columns),
        "answers": answer_tables(results),
        "over_strict_pairs": [
            f"{condition_label(gained.where, results)}: {gained.statement}."
            for gained in over_strict_pairs(results, name)
        ],
    }


def lines(result: Summary) -> list[str]:
    """The result for people."""
    statements = [
        f"{label}: {conclusion['statement']}."
        for label, conclusion in result["conclusions"].items()
    ]
    notes = [result["note"]] if result["note"] else []
    tables = [[title, "", *text.splitlines(), ""] for title, text in result["answers"].items()]
    return [
        *(result["results"], "", *result["table"].splitlines(), ""),
        *(line for text in tables for line in text),
        *(*statements, *result["over_strict_pairs"], *notes),
    ]


def _answer_rows(config: Config, tested: Tested, name: str) -> list[AnswerRow]:
    from lore_jax.evaluation.answer_rows import answer_rows
    from lore_jax.methods.as_said import AnswersPredictor

    assert isinstance(tested.predictor, AnswersPredictor)
    entry = tested.entry
    return answer_rows(
        tested.predictor,
        tested.answers,
        method=name,
        shots=config.shots,
        group_by=entry["group_by"],
        data=entry["data"],
        split=entry["split"],
        seed=config.seed,
    )


def _baselines(run: RunFolder, tested: Tested) -> dict[str, Predictor | ByStrictPairs]:
    """Methods beside the run's; where it has fitted answers, these take strict pairs instead."""
    import jax

    from lore_jax.evaluation.answer_gains import strict_pairs_name
    from lore_jax.evaluation.names import REFERENCE_HEAD, RIDGE_BT
    from lore_jax.fitting.config import RIDGE_BRADLEY_TERRY
    from lore_jax.fitting.fit import fit, fit_predictor
    from lore_jax.methods.as_said import ByStrictPairs
    from lore_jax.methods.base import BasisPredictor
    from lore_jax.model.model import reference_head
    from lore_jax.runs.config import from_decisive

    train, fitted = tested.parts.train, run.manifest["config"]["fit"]
    names = ("holdout", "folds", "group_by")
    config = dataclasses.replace(RIDGE_BRADLEY_TERRY, **{name: fitted[name] for name in names})
    key = jax.random.key(run.manifest["config"]["seed"])
    baselines: dict[str, Predictor] = {
        RIDGE_BT: BasisPredictor(fit(train, config, key=key)[0]),
    }
    if train.head is not None:
        baselines[REFERENCE_HEAD] = BasisPredictor(reference_head(train.head))
    if not tested.answers:
        return {**baselines}
    own = from_decisive(run.manifest["config"], str(run.path)).fit
    strict = {strict_pairs_name(fitted["method"]["name"]): fit_predictor(train, own, key=key)[0]}
    return {name: ByStrictPairs(method) for name, method in {**strict, **baselines}.items()}


def _learning_curve(
    config: Config,
    run: RunFolder,
    parts: Parts,
    conditions: Sequence[Condition | ConditionByAnswers],
    entry: SplitEntry,
) -> list[CurveRow]:
    """Fits of parts of the users with the run's own settings, tested on new items if there are."""
    import jax

    from lore_jax.evaluation.evaluate import Condition
    from lore_jax.evaluation.learning_curve import learning_curve
    from lore_jax.evaluation.names import nearest_shots
    from lore_jax.fitting.config import chosen_config

    manifest, shots = run.manifest, nearest_shots(filter(None, config.shots))
    pairs = [condition for condition in conditions if isinstance(condition, Condition)]
    unseen = [condition for condition in pairs if condition.users == "unseen"]
    condition = max(unseen, key=lambda condition: condition.items == "new items")
    return learning_curve(
        parts.train,
        chosen_config(manifest["config"]["fit"], manifest["choice"]),
        condition,
        method=manifest["config"]["fit"]["method"]["name"],
        shots=shots,
        group_by=entry["group_by"],
        data=entry["data"],
        split=entry["split"],
        seed=config.seed,
        key=jax.random.key(manifest["config"]["seed"]),
    )


def _describe_users(
    run: RunFolder, loaded: LoadedModel, tested: Tested, cache: Path | None
) -> AxesEntry:
    """The axes of disagreement, with texts where the cache has them, and the diagnostics."""
    import numpy as np

    from lore_jax.cli.tested import as_said
    from lore_jax.evaluation.diagnostics import diagnose
    from lore_jax.evaluation.different_picks import different_picks
    from lore_jax.evaluation.disagreement import describe_axes, prompts_of_responses, with_texts
    from lore_jax.evaluation.text_features import describe_features
    from lore_jax.storage.cache.reader import read_texts
    from lore_jax.users.adapt import adapt

    assert loaded.users is not None
    parts = tested.parts
    model, users, table = loaded.model, loaded.users, parts.train.embeddings
    groups, pairs = {"seen users": users}, [parts.train, *parts.tests.values()]
    if parts.shots is not None:
        said = [cell.shots for cell in tested.answers if cell.users == "unseen"]
        known = as_said(loaded).known(said[0]).users if said else adapt(model, parts.shots)
        groups["unseen users"] = known
        pairs.append(parts.shots)
    prompt = np.max([prompts_of_responses(prefs) for prefs in pairs], axis=0)
    weights = np.concatenate([group.weights for group in groups.values()])
    folder = run.manifest["data"]["cache"] if cache is None else cache
    described: AxesEntry = {
        **describe_axes(model, groups, table, prompt=prompt),
        "picks": different_picks(model, users, table, prompt=prompt),
        "features": describe_features(model, weights, table, read_texts(folder), prompt=prompt),
        "diagnostics": diagnose(model, users, table, prompt=prompt),
    }
    return with_texts(described, read_texts(folder))
