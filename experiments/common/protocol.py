"""The protocol of the experiments on published data sets, and their report.

An experiment says how its data set is read, split and fitted. The steps are read -> embed -> split
-> fit -> adapt -> evaluate -> report; what follows the split is here, once. Each (task, split) is
one file in OUT/parts (`lore_jax.runs.parts`). OUT/results.json holds everything,
OUT/tables.md the tables with the paper's numbers beside ours, OUT/figures what is drawn from the
JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

import lore_jax as lore
from experiments.common.fits import applicable
from experiments.common.options import Options, settings_of
from experiments.common.scorers import as_published, projected
from lore_jax.data.four_way import split_digest
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Users, draw_prompts
from lore_jax.datasets.leaks import Texts, keep_apart
from lore_jax.evaluation.conclusion import average, conclude, difference
from lore_jax.evaluation.controls import permute_users
from lore_jax.evaluation.disagreement import describe_axes, prompts_of_responses
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.names import GAUSSIAN, PERMUTED_USERS, Control
from lore_jax.evaluation.results import (
    Where,
    describe_split,
    join,
    make_results,
    methods_of,
    select,
    write_results,
)
from lore_jax.evaluation.schema import Results, Row
from lore_jax.methods.base import Predictor
from lore_jax.model.model import Model
from lore_jax.reporting.figures import save_figures
from lore_jax.reporting.tables import markdown, measures, method_lines, shots_columns, show, table
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file

_ALL = 2**31 - 1  # shots that nobody has: all of them


class Split(NamedTuple):
    """One split of one task.

    Attributes:
        train: the pairs of the fit, of the seen users.
        shots: pairs to adapt to, of the unseen users.
        tests: the test pairs of seen and of unseen users.
        names: who the seen and the unseen users are.
        dropped: what the split leaves out.
    """

    train: Preferences
    shots: Preferences
    tests: tuple[Preferences, Preferences]
    names: dict[Users, np.ndarray]
    dropped: dict[str, int]


@dataclasses.dataclass(frozen=True)
class EvaluationProtocol:
    """What is done on every split.

    Attributes:
        name: the data set.
        fits: names of methods to what is fitted.
        shots: how much unseen users give; the last is the one of the tables.
        shots_are: pairs, or prompts (dialogues) with all their pairs.
        numbers: the paper's accuracies in %, (task, method) to (seen users, unseen users).
        note: stands under every figure and table.
        known: models that are given and not fitted, by name: the ground truth of synthetic data.
    """

    name: str
    fits: dict[str, lore.FitConfig]
    shots: tuple[int, ...]
    shots_are: Literal["pairs", "dialogues"] = "pairs"
    numbers: Mapping[tuple[str, str], tuple[float, float]] = dataclasses.field(default_factory=dict)
    note: str = ""
    known: Mapping[str, Model] = dataclasses.field(default_factory=dict)


def run(
    protocol: EvaluationProtocol,
    tasks: Mapping[str, Callable[[int], Split]],
    options: Options,
    *,
    about: Mapping[str, Any],
    more: Callable[[Results], str] = lambda results: "",
) -> Results:
    """Makes the parts that are missing and reports on all of them.

    Args:
        protocol: what is done on every split.
        tasks: names of tasks to `seed -> split`.
        options: of the experiment.
        about: where the data come from and what was left out, for the results.
        more: adds to the tables.

    Returns:
        The results, as written.

    Raises:
        ValueError: OUT/parts holds parts of another configuration.
    """
    config = {
        "fits": protocol.fits,
        "shots": protocol.shots,
        "options": settings_of(options),
        "about": about,
    }

    def part(task: str, split: int) -> Part:
        seed = options.seed + split

        def make() -> Results:
            return evaluate_part(protocol, tasks[task](seed), options, config, task, split, seed)

        return Part(f"{task}-{split}", {"config": config, "seed": seed}, make)

    parts = [part(task, split) for split in range(options.num_splits) for task in tasks]
    results = join(run_parts(options.out / "parts", parts, description="tasks x splits"))
    if options.smoke or protocol.known:
        warning = "SYNTHETIC DATA, FITS OF A FEW STEPS." if options.smoke else "SYNTHETIC DATA."
        protocol = dataclasses.replace(protocol, note=f"{warning} {protocol.note}")
    results["seed"] = options.seed
    results["paper"] = [[*key, *value] for key, value in protocol.numbers.items()]
    if GAUSSIAN in protocol.fits:
        results["conclusions"] = {
            task: conclude(
                of_task(results, task),
                Where("unseen", "new items", GAUSSIAN, shots=protocol.shots[-1]),
            )
            for task in tasks
        }
    text = report(protocol, results, list(tasks), about) + more(results)
    write_results(options.out / "results.json", results)
    write_file(options.out / "tables.md", [text.encode(), b"\n"])
    save_figures(results, options.out / "figures", note=protocol.note)
    print(f"{text}\n\nSaved results.json, tables.md, parts and figures in {options.out}")
    return results


def evaluate_part(
    protocol: EvaluationProtocol,
    data: Split,
    options: Options,
    config: Mapping[str, object],
    task: str,
    split: int,
    seed: int,
) -> Results:
    """One split of one task: fit, adapt, evaluate."""
    conditions = [
        Condition("unseen", "new items", data.shots, data.tests[1]),
        Condition("seen", "new items", data.train, data.tests[0]),
    ]
    key, about = jax.random.key(seed), {"data": task, "split": split}
    table, train = data.train.embeddings, data.train.take_responses()
    if jax.default_backend() == "cpu":
        # A CPU would convert a half-precision table before every product.
        train = dataclasses.replace(train, embeddings=np.asarray(train.embeddings, np.float32))
    fitted = {
        name: lore.fit(train, fit, key=key)
        for name, fit in applicable(protocol.fits, train).items()
    }
    chosen = {name: history.choice for name, (_, _, history) in fitted.items()}
    methods = {name: projected(model, users, table) for name, (model, users, _) in fitted.items()}
    if options.paper:
        model, users, _ = fitted["LoRe"]
        methods["LoRe, weights by Adam"] = as_published(model, users, table, seed)
    for name, model in protocol.known.items():
        methods[name] = projected(model, lore.adapt(model, data.train), table)
    rows = _evaluate(protocol, methods, conditions, None, seed, about)
    axes = {}
    if GAUSSIAN in fitted:
        if split == 0:
            permuted = [permuted_users(condition, seed) for condition in conditions]
            model, users, history = lore.fit(
                permuted[1].shots.take_responses(), protocol.fits[GAUSSIAN], key=key
            )
            chosen[f"{GAUSSIAN}, {PERMUTED_USERS}"] = history.choice
            control = {GAUSSIAN: projected(model, users, table)}
            rows += _evaluate(protocol, control, permuted, PERMUTED_USERS, seed, about)
        model, users, _ = fitted[GAUSSIAN]
        groups = {"seen users": users, "unseen users": lore.adapt(model, data.shots)}
        prompts = prompts_of_responses(train)
        axes[task] = describe_axes(model, groups, train.embeddings, prompt=prompts)
    entry = describe_split(
        data.names,
        items=("new items",),
        group_by="prompt",
        digest=split_digest([], [data.train, data.shots, *data.tests]),
        chosen=chosen,
        dropped=data.dropped,
        **about,
    )
    return make_results(rows, [entry], name=protocol.name, config=config, seed=seed, axes=axes)


def permuted_users(condition: Condition, seed: int) -> Condition:
    """The control: a condition whose pairs are dealt out to its users at random."""
    return condition._replace(
        shots=permute_users(condition.shots, seed=seed),
        test=permute_users(condition.test, seed=seed + 1),
    )


def _evaluate(
    protocol: EvaluationProtocol,
    methods: Mapping[str, Predictor],
    conditions: Sequence[Condition],
    control: Control | None,
    seed: int,
    about: Mapping[str, Any],
) -> list[Row]:
    """Rows after each number of shots; dialogues are drawn before `evaluate` takes all of them."""
    if protocol.shots_are == "pairs":
        return evaluate(
            methods, conditions, shots=protocol.shots, control=control, seed=seed, **about
        )
    unseen, seen = conditions
    rows = evaluate(methods, [seen], control=control, seed=seed, **about)
    for count in protocol.shots:
        drawn = unseen._replace(shots=draw_prompts(unseen.shots, count, seed=seed))
        shots = (_ALL if count else 0,)
        dialogues = median_dialogues(drawn)
        for row in evaluate(methods, [drawn], shots=shots, control=control, seed=seed, **about):
            row["shots"], row["median_shots"] = count, dialogues
            rows.append(row)
    return rows


def median_dialogues(condition: Condition) -> float:
    """How many dialogues the median user with a test pair has among the shots."""
    shots, tested = condition.shots, condition.test.pairs_per_user() > 0
    owner = np.unique(np.stack([shots.user, shots.prompt], axis=1), axis=0)[:, 0]
    return float(np.median(np.bincount(owner, minlength=shots.num_users)[tested]))


def leak_free(
    texts: Texts | None,
    prefs: Preferences,
    train: Bool[np.ndarray, " pairs"],
    test: Bool[np.ndarray, " pairs"],
) -> Bool[np.ndarray, " pairs"]:
    """The training pairs (and shots) that share no text with the test; None: there are no texts."""
    return train if texts is None else keep_apart(texts, prefs.chosen, prefs.rejected, train, test)


def of_task(results: Results, task: str) -> Results:
    """The results of one task alone."""
    splits = [entry for entry in results["splits"] if entry["data"] == task]
    return {**results, "rows": select(results, Where(data=task)), "splits": splits}


def report(
    protocol: EvaluationProtocol,
    results: Results,
    tasks: Sequence[str],
    about: Mapping[str, Any],
) -> str:
    """What the results say, in Markdown, the paper's numbers beside ours."""
    paragraphs = [
        f"# {protocol.name}",
        "Accuracy in %, macro over users, with 95 % intervals (new users, new items); in "
        f"brackets what the paper reports. {protocol.note}".rstrip(),
        f"Read and left out: {_counts(about['counts'])}.",
    ]
    for task in tasks:
        paragraphs += _report_of_task(protocol, of_task(results, task), task)
    return "\n\n".join(paragraphs)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _report_of_task(protocol: EvaluationProtocol, results: Results, task: str) -> list[str]:
    """The paragraphs about one task, from its own results."""
    last, unit = protocol.shots[-1], protocol.shots_are
    after = f"{last} {'shots' if unit == 'pairs' else 'dialogues'}"
    lines = {name: Where(method=name, control=None) for name in methods_of(results)}
    paragraphs = [
        f"## {task}\n\n{markdown(_beside_the_paper(protocol, results, task, lines, after))}",
        f"In the first split: {_counts(results['splits'][0]['dropped'])}.",
    ]
    if len(protocol.shots) > 2:
        columns = {
            label.replace("shots", unit): column for label, column in shots_columns(results).items()
        }
        paragraphs.append(f"Unseen users after some {unit}:\n\n{table(results, lines, columns)}")
    if "conclusions" in results:
        condition = Where("unseen", "new items", shots=last)
        gains = [[f"{GAUSSIAN} minus", ""]]
        for name in lines:
            if name != GAUSSIAN:
                two = (condition.also(lines[which]) for which in (GAUSSIAN, name))
                gains.append([name, show(difference(results, *two).interval())])
        statement = results["conclusions"][task]["statement"]
        all_measures = measures(results, method_lines(results), condition)
        paragraphs += [
            statement.replace(
                "comparisons", "dialogues" if unit == "dialogues" else "comparisons", 1
            )
            + ".",
            f"Paired differences in points, unseen users, {after}:\n\n{markdown(gains)}",
            f"All measures and the controls, unseen users, {after}:\n\n{all_measures}",
        ]
    return paragraphs


def _beside_the_paper(
    protocol: EvaluationProtocol,
    results: Results,
    task: str,
    lines: Mapping[str, Where],
    after: str,
) -> list[list[str]]:
    """Rows of a table: our accuracies, in brackets the paper's, and methods only the paper has."""
    columns = {
        "seen users": Where("seen", shots=None),
        f"unseen users, {after}": Where("unseen", shots=protocol.shots[-1]),
    }
    rows = [["", *columns]]
    for name, line in lines.items():
        ours = [show(average(results, line.also(column)).interval()) for column in columns.values()]
        paper = protocol.numbers.get((task, name))
        if paper is not None:
            ours = [f"{text} [{value:.1f}]" for text, value in zip(ours, paper, strict=True)]
        rows.append([name, *ours])
    for (paper_task, name), values in protocol.numbers.items():
        if paper_task == task and name not in lines:
            rows.append([f"{name} (paper)", *(f"[{value:.1f}]" for value in values)])
    return rows
