"""What the experiments on published data sets share: one part after another, fitted and evaluated
alike, and the report.

An experiment says how its data set is read, split and fitted; what it is told stands in
`options.py`, the rest is here, once. The seven steps are read -> embed -> split -> fit -> adapt ->
evaluate -> report. Each (task, split) is one file in OUT/parts: a run that was stopped goes on
where it was. OUT/results.json holds everything, OUT/tables.md the tables with the paper's numbers
beside ours, OUT/figures what is drawn from the JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

import lore_jax as lore
from experiments.common.options import Options, settings_of
from experiments.common.scorers import as_published, projected
from lore_jax.data.four_way import split_digest
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import draw_prompts
from lore_jax.datasets.leaks import Texts, keep_apart
from lore_jax.evaluation.conclusion import average, conclude, difference
from lore_jax.evaluation.controls import permute_users
from lore_jax.evaluation.disagreement import describe_axes, prompts_of_responses
from lore_jax.evaluation.evaluate import PERMUTED_USERS, Condition, Method, Row, evaluate
from lore_jax.evaluation.results import (
    Results,
    describe_split,
    join,
    make_results,
    plain,
    read_results,
    write_results,
)
from lore_jax.model.model import Model
from lore_jax.reporting.figures import save_figures
from lore_jax.reporting.tables import markdown, measures, method_lines, shots_columns, show, table
from lore_jax.storage.files import write_file

_ALL = 2**31 - 1  # shots that nobody has: all of them


class Drawn(NamedTuple):
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
    names: dict[str, np.ndarray]
    dropped: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is done on every split.

    Attributes:
        name: the data set.
        fits: names of methods to what is fitted.
        shots: how much unseen users give; the last is the one of the tables.
        shots_are: pairs, or prompts (dialogues) with all their pairs.
        numbers: the paper's accuracies in %, (task, method) to (seen users, unseen users).
        note: said under every figure and table.
        known: models that are given and not fitted, by name: the truth of made-up data.
    """

    name: str
    fits: dict[str, lore.FitConfig]
    shots: tuple[int, ...]
    shots_are: Literal["pairs", "dialogues"] = "pairs"
    numbers: Mapping[tuple[str, str], tuple[float, float]] = dataclasses.field(default_factory=dict)
    note: str = ""
    known: Mapping[str, Model] = dataclasses.field(default_factory=dict)


def run(
    protocol: Protocol,
    tasks: Mapping[str, Callable[[int], Drawn]],
    options: Options,
    *,
    about: Mapping[str, Any],
    more: Callable[[Results], str] = lambda results: "",
) -> Results:
    """All parts, then what they say together.

    Args:
        protocol: what is done on every split.
        tasks: names of tasks to `seed -> split`.
        options: what the experiment was told.
        about: where the data come from and what was left out, for the results.
        more: adds to the tables.

    Returns:
        The results, as written.

    Raises:
        ValueError: OUT/parts holds parts of another configuration.
    """
    folder = options.out / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    settings = plain(
        {
            "fits": protocol.fits,
            "shots": protocol.shots,
            "options": settings_of(options),
            "about": about,
        }
    )
    todo = [(task, split) for split in range(options.num_splits) for task in tasks]
    parts = []
    for task, split in tqdm(todo, desc="tasks x splits", disable=None):
        path, seed = folder / f"{task}-{split}.json", options.seed + split
        if not path.exists():
            write_results(
                path,
                evaluate_part(protocol, tasks[task](seed), options, settings, task, split, seed),
            )
        parts.append(read_results(path))
        if parts[-1]["config"] != settings or parts[-1]["seed"] != seed:
            raise ValueError(
                f"{path} was made with other settings: remove it, or give another --out"
            )
    if options.smoke or protocol.known:
        made_up = "MADE-UP DATA, FITS OF A FEW STEPS." if options.smoke else "MADE-UP DATA."
        protocol = dataclasses.replace(protocol, note=f"{made_up} {protocol.note}")
    results = join(parts)
    results["seed"] = options.seed
    results["paper"] = [[*key, *value] for key, value in protocol.numbers.items()]
    if "gaussian" in protocol.fits:
        results["conclusions"] = {
            task: conclude(of_task(results, task), "gaussian", shots=protocol.shots[-1])
            for task in tasks
        }
    text = report(protocol, results, list(tasks), about) + more(results)
    write_results(options.out / "results.json", results)
    write_file(options.out / "tables.md", [text.encode(), b"\n"])
    save_figures(results, options.out / "figures", note=protocol.note)
    print(f"{text}\n\nSaved results.json, tables.md, parts and figures in {options.out}")
    return results


def evaluate_part(
    protocol: Protocol,
    drawn: Drawn,
    options: Options,
    settings: Any,
    task: str,
    split: int,
    seed: int,
) -> Results:
    """One split of one task: fit, adapt, evaluate."""
    conditions = [
        Condition("unseen", "new items", drawn.shots, drawn.tests[1]),
        Condition("seen", "new items", drawn.train, drawn.tests[0]),
    ]
    key, about = jax.random.key(seed), {"data": task, "split": split}
    train = drawn.train.take_responses()
    if (
        jax.default_backend() == "cpu"
    ):  # which would convert a half-precision table before every product
        train = dataclasses.replace(train, embeddings=np.asarray(train.embeddings, np.float32))
    wanted = {
        name: config
        for name, config in protocol.fits.items()
        if config.rank != 0 or train.head is not None
    }
    fitted = {name: lore.fit(train, config, key=key) for name, config in wanted.items()}
    chosen = {name: history.choice for name, (_, _, history) in fitted.items()}
    methods = {
        name: projected(model, users, drawn.train.embeddings)
        for name, (model, users, _) in fitted.items()
    }
    if options.paper:
        model, users, _ = fitted["LoRe"]
        methods["LoRe, weights by Adam"] = as_published(model, users, drawn.train.embeddings, seed)
    for name, model in protocol.known.items():
        methods[name] = projected(model, lore.adapt(model, drawn.train), drawn.train.embeddings)
    rows = _evaluate(protocol, methods, conditions, None, seed, about)
    if "gaussian" in fitted and split == 0:
        shuffled = [
            condition._replace(
                shots=permute_users(condition.shots, seed=seed),
                test=permute_users(condition.test, seed=seed + 1),
            )
            for condition in conditions
        ]
        model, users, history = lore.fit(
            shuffled[1].shots.take_responses(), protocol.fits["gaussian"], key=key
        )
        chosen[f"gaussian, {PERMUTED_USERS}"] = history.choice
        control = {"gaussian": projected(model, users, drawn.train.embeddings)}
        rows += _evaluate(protocol, control, shuffled, PERMUTED_USERS, seed, about)
    entry = describe_split(
        drawn.names,
        items=("new items",),
        group_by="prompt",
        digest=split_digest([], [drawn.train, drawn.shots, *drawn.tests]),
        chosen=chosen,
        dropped=drawn.dropped,
        **about,
    )
    axes = {}
    if "gaussian" in fitted:
        model, users, _ = fitted["gaussian"]
        groups = {"seen users": users, "unseen users": lore.adapt(model, drawn.shots)}
        axes[task] = describe_axes(
            model, groups, train.embeddings, prompt=prompts_of_responses(train)
        )
    return make_results(rows, [entry], name=protocol.name, config=settings, seed=seed, axes=axes)


def _evaluate(
    protocol: Protocol,
    methods: Mapping[str, Method],
    conditions: Sequence[Condition],
    control: str | None,
    seed: int,
    about: Mapping[str, Any],
) -> list[Row]:
    """Rows after each number of shots; of dialogues, by drawing these before `evaluate` takes all
    of what is left.
    """
    if protocol.shots_are == "pairs":
        return evaluate(
            methods, conditions, shots=protocol.shots, control=control, seed=seed, **about
        )
    unseen, seen = conditions
    rows = evaluate(methods, [seen], control=control, seed=seed, **about)
    for count in protocol.shots:
        given = unseen._replace(shots=draw_prompts(unseen.shots, count, seed=seed))
        found = evaluate(
            methods, [given], shots=(_ALL if count else 0,), control=control, seed=seed, **about
        )
        for row in found:
            row["shots"] = count
        rows += found
    return rows


def leak_free(
    texts: Texts | None, prefs: Preferences, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """The training pairs (and shots) that share no text with the test, bool `[pairs]`; None:
    made-up data without texts.
    """
    return train if texts is None else keep_apart(texts, prefs.chosen, prefs.rejected, train, test)


def of_task(results: Results, task: str) -> Results:
    """The results of one task alone."""
    return {
        **results,
        **{
            name: [row for row in results[name] if row["data"] == task]
            for name in ("rows", "splits")
        },
    }


def report(
    protocol: Protocol, results: Results, tasks: Sequence[str], about: Mapping[str, Any]
) -> str:
    """What the results say, in Markdown, the paper's numbers beside ours."""
    last, methods = (
        protocol.shots[-1],
        list(dict.fromkeys(row["method"] for row in results["rows"])),
    )
    given = f"{last} {'shots' if protocol.shots_are == 'pairs' else 'dialogues'}"
    out = [
        f"# {protocol.name}\n\nAccuracy in %, macro over users, with 95 % intervals (users and splits resampled); in "
        f"brackets what the paper reports. {protocol.note}".rstrip(),
        "Read and left out: "
        + ", ".join(f"{count:,} {name}" for name, count in about["counts"].items())
        + ".",
    ]
    for task in tasks:
        here = of_task(results, task)
        conditions = {
            "seen users": {"users": "seen", "shots": None},
            f"unseen users, {given}": {"users": "unseen", "shots": last},
        }
        rows = [["", *conditions]]
        for name in methods:
            line = [name]
            for number, condition in enumerate(conditions.values()):
                said = show(
                    average(here, {**condition, "method": name, "control": None}).interval()
                )
                paper = protocol.numbers.get((task, name))
                line.append(said if paper is None else f"{said} [{paper[number]:.1f}]")
            rows.append(line)
        rows += [
            [f"{name} (paper)", *(f"[{value:.1f}]" for value in protocol.numbers[about_task, name])]
            for about_task, name in protocol.numbers
            if about_task == task and name not in methods
        ]
        left = here["splits"][0]["dropped"]
        out += [
            f"## {task}\n\n{markdown(rows)}",
            "In the first split: "
            + ", ".join(f"{count:,} {name}" for name, count in left.items())
            + ".",
        ]
        if len(protocol.shots) > 2:
            lines = {name: {"method": name, "control": None} for name in methods}
            columns = {
                label.replace("shots", protocol.shots_are): of
                for label, of in shots_columns(here).items()
            }
            out.append(
                f"Unseen users after some {protocol.shots_are}:\n\n{table(here, lines, columns)}"
            )
        if "conclusions" in results:
            condition = {"users": "unseen", "items": "new items", "shots": last}
            own = {**condition, "method": "gaussian", "control": None}
            gains = [
                [
                    other,
                    show(
                        difference(
                            here, own, {**condition, "method": other, "control": None}
                        ).interval()
                    ),
                ]
                for other in methods
                if other != "gaussian"
            ]
            out += [
                results["conclusions"][task]["statement"].replace(
                    "shot", protocol.shots_are[:-1], 1
                )
                + ".",
                f"Paired differences in points, unseen users, {given}:\n\n{markdown([['gaussian minus', ''], *gains])}",
                f"All measures and the controls, unseen users, {given}:\n\n{measures(here, method_lines(here), condition)}",
            ]
    return "\n\n".join(out)
