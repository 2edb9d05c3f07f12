"""Polis: are a person's votes on statements easier to predict with weights of the person's own?

    python -m experiments.polis --data DIR --out RUN --splits 10

These are the README's numbers; the default is three splits. DIR holds the folders of some Polis
conversations and the embeddings of their statements (`lore_jax.datasets.polis`). From the folders
alone, with embeddings made here by a sentence encoder of your choice:

    lore-jax embed DIR/*/ --model MODEL_DIR --out CACHE
    python -m experiments.polis --data DIR --embeddings CACHE --out RUN

Users are voters; a pair sets a statement the voter agreed with against one the voter disagreed
with. So all numbers here are about agree/disagree votes on statements that people wrote, not about
replies of a language model.

Every conversation is a data set of its own. 30 % of the voters are kept out of the fit and adapted
to from 0 to 40 pairs (shots). Two tests: pairs of statements that nobody voted on in training (new
items), and pairs of the voter's own remaining statements, on which others may have voted (known
items). Rank and ridges are chosen on validation folds of the fit's pairs; the paper's objective is
shown at four ranks and, generously, at the best of them *chosen on the test* of each conversation.

Each (conversation, test, split) is one file in RUN/parts: a run that was stopped goes on where it
was. RUN/results.json holds everything, RUN/tables.md the tables, RUN/figures what is drawn from the
JSON.

Time: less than a minute of CPU for each part, two for a first one, much of it compiling: ten splits
took 83 minutes of CPU. Expected (unseen users, 20 shots, average over the conversations, ten
splits): new statements, gaussian 65.9, ridge BT 64.5, the paper's objective at its best rank 61.5;
known statements, 85.2, 81.8 and 83.5.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import (
    at_rank,
    paper_objective,
    population_model,
    ridge_bradley_terry,
)
from experiments.common.protocol import permuted_users
from lore_jax.data.four_way import split_digest
from lore_jax.data.splits import Holdout, split_users
from lore_jax.datasets.polis.pairs import polis_preferences
from lore_jax.datasets.polis.votes import (
    PolisEmbeddings,
    Votes,
    load_polis_embeddings,
    read_polis,
)
from lore_jax.datasets.sources import polis_embeddings_in_cache
from lore_jax.evaluation.conclusion import average, conclude, difference
from lore_jax.evaluation.disagreement import describe_axes, with_texts
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.names import GAUSSIAN, PERMUTED_USERS, RIDGE_BT
from lore_jax.evaluation.results import (
    Where,
    describe_split,
    join,
    make_results,
    methods_of,
    plain,
    select,
    write_results,
)
from lore_jax.evaluation.schema import Results, Row
from lore_jax.methods.base import BasisPredictor
from lore_jax.reporting.figures import save_figures
from lore_jax.reporting.tables import (
    four_way_columns,
    markdown,
    measures,
    method_lines,
    shots_columns,
    show,
    table,
)
from lore_jax.runs.parts import Part, run_parts
from lore_jax.storage.files import write_file
from lore_jax.storage.safetensors import write_tensors

NOTE = (
    "Pairs come from agree/disagree votes of people on statements that people wrote "
    "(Polis open data, CC BY 4.0)."
)
BEST_PAPER = "paper, best rank on test"


@dataclasses.dataclass(frozen=True)
class Config:
    """Predicts votes of Polis conversations by the paper's objective and the population model.

    Attributes:
        out: where to write.
        data: the folder of the conversations (not with --smoke).
        embeddings: a cache that has the statements, from `lore-jax embed` of their folders; None:
            the embeddings that lie in `data`.
        splits: how many times statements and voters are split.
        conversations: which of the folders to take; none: all.
        tests: statements of the test pairs.
        seed: seed of everything.
        smoke: two synthetic conversations, one split, and fits of a few steps, to see that
            everything runs.
    """

    out: Path
    data: Path | None = None
    embeddings: Path | None = None
    splits: int = 3
    conversations: tuple[str, ...] = ()
    tests: tuple[Holdout, ...] = ("new items", "known items")
    seed: int = 0
    smoke: bool = False


@dataclasses.dataclass(frozen=True)
class PolisProtocol:
    """What is done in every part.

    Attributes:
        fits: names of methods to what is fitted; "gaussian" last.
        fixed_ranks: ranks at which the gaussian fit is repeated, with the ridges it chose.
        shots: pairs given by unseen users; tables and differences are after the last but one.
        limits: least numbers of pairs of a user.
    """

    fits: dict[str, lore.FitConfig]
    fixed_ranks: tuple[int, ...] = (3, 5)
    shots: tuple[int, ...] = (0, 5, 10, 20, 40)
    limits: dict[str, int] = dataclasses.field(default_factory=dict)


def polis_protocol(test: Holdout, *, smoke: bool) -> PolisProtocol:
    """The fits; validation mirrors the test.

    Embeddings of unit norm times 30 suit the paper's temperature of 100.
    """
    fits = {
        f"paper, rank {rank}": paper_objective(rank=rank, scale=30.0, smoke=smoke)
        for rank in ((2,) if smoke else (1, 2, 5, 10))
    }
    fits[RIDGE_BT] = ridge_bradley_terry(holdout=test, group_by="response", smoke=smoke)
    fits[GAUSSIAN] = population_model(holdout=test, group_by="response", smoke=smoke)
    if smoke:
        return PolisProtocol(fits, (), (0, 5, 10), {"min_train_pairs": 5, "min_test_pairs": 1})
    return PolisProtocol(fits)


def data_folder(data: Path | None, out: Path, *, smoke: bool, seed: int = 0) -> Path:
    """The folder of the conversations; with --smoke synthetic ones, written to OUT/data.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = make_conversations(out / "data", seed=seed) if smoke else data
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder: --data must name the folder of the Polis conversations"
        )
    return folder


def run(config: Config) -> Results:
    """Makes the parts that are missing and reports on all of them."""
    root = data_folder(config.data, config.out, smoke=config.smoke, seed=config.seed)
    names = config.conversations or tuple(
        sorted(path.parent.name for path in root.glob("*/comments.csv"))
    )
    conversations = {name: read_polis(root / name) for name in names}
    if config.embeddings is None:
        embeddings = load_polis_embeddings(root)
    else:
        embeddings = polis_embeddings_in_cache(config.embeddings, list(conversations.values()))
    protocols = {test: polis_protocol(test, smoke=config.smoke) for test in config.tests}

    def part(name: str, test: Holdout, split: int) -> Part:
        votes, seed = conversations[name], config.seed + split
        settings = {"config": protocols[test], "seed": seed, "encoder": embeddings.encoder}

        def make() -> Results:
            return evaluate_part(votes, embeddings, protocols[test], test, split, seed=seed)

        return Part(f"{name}-{test.replace(' ', '-')}-{split}", settings, make)

    splits = 1 if config.smoke else config.splits
    parts = [
        part(name, test, split)
        for split in range(splits)
        for test in config.tests
        for name in names
    ]
    description = "conversations x tests x splits"
    results = join(run_parts(config.out / "parts", parts, description=description))
    shots = protocols[config.tests[-1]].shots[-2]
    results = with_best_paper(results, shots)
    results["config"] = plain({"config": config, **protocols})
    results["conclusions"] = {
        test: conclude(results, Where("unseen", test, GAUSSIAN, shots=shots))
        for test in config.tests
    }
    text = tables(results, names, config.tests, shots)
    write_results(config.out / "results.json", results)
    write_file(config.out / "tables.md", [text.encode(), b"\n"])
    methods = (BEST_PAPER, RIDGE_BT, GAUSSIAN)
    save_figures(results, config.out / "figures", methods=methods, note=NOTE)
    print(f"{text}\n\nSaved results.json, tables.md, parts and figures in {config.out}")
    return results


def evaluate_part(
    votes: Votes,
    embeddings: PolisEmbeddings,
    protocol: PolisProtocol,
    test: Holdout,
    split: int,
    *,
    seed: int,
) -> Results:
    """One split of one conversation: split, fit, adapt, evaluate."""
    table = embeddings.of(votes).astype(np.float32)
    pairs = polis_preferences(
        votes, table, test=test, split_seed=seed, fold=None, **protocol.limits
    )
    seen, unseen = split_users(pairs.train.num_users, 0.3, seed=seed)
    train, shots = pairs.train.take_users(seen), pairs.train.take_users(unseen)
    conditions = [
        Condition("unseen", test, shots, pairs.test.take_users(unseen)),
        Condition("seen", test, train, pairs.test.take_users(seen)),
    ]
    key = jax.random.key(seed)
    about: dict[str, Any] = {"data": votes.conversation, "split": split}

    fitted = {name: lore.fit(train, config, key=key) for name, config in protocol.fits.items()}
    chosen = {name: history.choice for name, (_, _, history) in fitted.items()}
    for rank in protocol.fixed_ranks:
        config = at_rank(protocol.fits[GAUSSIAN], rank, chosen[GAUSSIAN])
        fitted[f"{GAUSSIAN}, rank {rank}"] = lore.fit(train, config, key=key)
    methods = {name: BasisPredictor(model, users) for name, (model, users, _) in fitted.items()}
    rows = evaluate(
        methods, conditions, shots=protocol.shots, group_by="response", seed=seed, **about
    )

    if split == 0:
        control, choice = permutation_control(protocol, conditions, seed=seed, **about)
        rows, chosen[f"{GAUSSIAN}, {PERMUTED_USERS}"] = rows + control, choice

    entry = describe_split(
        {"seen": np.asarray(train.user_ids), "unseen": np.asarray(shots.user_ids)},
        items=(test,),
        group_by="response",
        digest=split_digest([seen, unseen], [pairs.train, pairs.test]),
        chosen=chosen,
        dropped={
            "users": pairs.num_dropped_users,
            "cross_split": pairs.num_cross_split,
            "kept": pairs.num_inside,
        },
        **about,
    )
    model, users, _ = fitted[GAUSSIAN]
    groups = {"seen users": users, "unseen users": lore.adapt(model, shots)}
    statements = ((votes.conversation, text) for text in votes.texts)
    axes = {votes.conversation: with_texts(describe_axes(model, groups, table), statements)}
    return make_results(rows, [entry], name="polis", config=protocol, seed=seed, axes=axes)


def permutation_control(
    protocol: PolisProtocol, conditions: Sequence[Condition], *, seed: int, **about: Any
) -> tuple[list[Row], dict[str, Any]]:
    """The whole pipeline on pairs that are dealt out to the users at random.

    Returns:
        Its rows, and what its validation chose.
    """
    permuted = [permuted_users(condition, seed) for condition in conditions]
    train = next(condition.shots for condition in permuted if condition.users == "seen")
    model, users, history = lore.fit(train, protocol.fits[GAUSSIAN], key=jax.random.key(seed))
    methods = {GAUSSIAN: BasisPredictor(model, users)}
    rows = evaluate(
        methods,
        permuted,
        shots=protocol.shots,
        group_by="response",
        control=PERMUTED_USERS,
        seed=seed,
        **about,
    )
    return rows, dict(history.choice)


def with_best_paper(results: Results, shots: int) -> Results:
    """Adds the paper's objective at the rank that is best on each conversation's own test pairs."""
    papers = [name for name in methods_of(results) if name.startswith("paper")]
    added = []
    tests: list[tuple[str, Holdout]] = [(row["data"], row["items"]) for row in results["rows"]]
    for data, items in dict.fromkeys(tests):
        condition = Where(items=items, control=None, data=data)
        unseen = condition.also(Where("unseen", shots=shots))
        accuracy = {name: average(results, unseen.also(Where(method=name))).mean for name in papers}
        best = max(papers, key=accuracy.__getitem__)
        rows = select(results, condition.also(Where(method=best)))
        added += [{**row, "method": BEST_PAPER} for row in rows]
    return {**results, "rows": [*results["rows"], *added]}


def tables(results: Results, names: Sequence[str], tests: Sequence[Holdout], shots: int) -> str:
    """What the results say, in Markdown."""
    lines = {name: own(name) for name in methods_of(results) if name != GAUSSIAN}
    lines |= method_lines(results, [GAUSSIAN])
    paragraphs = [
        f"# Polis\n\n{NOTE} Accuracy in %, macro over users, with 95 % intervals (new users, "
        "new statements).",
    ]
    after = f"unseen users, {shots} shots"
    for test in tests:
        condition = Where("unseen", test, shots=shots)
        columns = {name: condition.also(Where(data=name)) for name in names}
        columns["average"] = condition
        differences = [[f"{GAUSSIAN} minus", *columns]]
        for other in (RIDGE_BT, BEST_PAPER):
            points = [
                difference(results, column.also(own(GAUSSIAN)), column.also(own(other)))
                for column in columns.values()
            ]
            differences.append([other, *(show(gain.interval()) for gain in points)])
        conclusion = results.get("conclusions", {})[test]
        after_each = table(results, lines, shots_columns(results, items=test))
        paragraphs += [
            f"## {test.removesuffix(' items').capitalize()} statements",
            f"{conclusion['statement']}. {conclusion['better']} of {conclusion['users']} users "
            f"gained, {conclusion['worse']} lost.",
            f"{after.capitalize()}:\n\n{table(results, lines, columns)}",
            f"Paired differences in points, {after}:\n\n{markdown(differences)}",
            f"Unseen users, average over conversations:\n\n{after_each}",
            f"All measures, {after}:\n\n{measures(results, lines, condition)}",
        ]
    four_way = table(results, lines, four_way_columns(results, shots=shots))
    paragraphs.append(f"## Seen and unseen users\n\n{four_way}")
    return "\n\n".join(paragraphs)


def own(name: str) -> Where:
    """The rows of a method that are no control."""
    return Where(method=name, control=None)


def make_conversations(root: Path, *, seed: int) -> Path:
    """Writes two small synthetic conversations, in the published format.

    Voters fall into two groups of opposed leanings. The conversations have the same votes, so that
    they share compiled programs, on different statements; embeddings are random.
    """
    statements, voters, dim, rows = 24, 20, 32, []
    for name in ("one", "two"):
        rng = np.random.default_rng(seed)
        (root / name).mkdir(parents=True, exist_ok=True)
        comments = [["comment-id", "moderated", "comment-body"]]
        comments += [[i, 1, f"Statement {i} of conversation {name}"] for i in range(statements)]
        leaning = rng.normal(size=(2, statements))
        votes = [["timestamp", "comment-id", "voter-id", "vote"]]
        for voter in range(voters):
            vote = np.sign(leaning[voter % 2] + 0.5 * rng.normal(size=statements))
            votes += [[0, i, voter, int(vote[i])] for i in rng.permutation(statements)[:18]]
        for file, content in (("comments.csv", comments), ("votes.csv", votes)):
            with open(root / name / file, "w", newline="") as stream:
                csv.writer(stream).writerows(content)
        rows += [[name, i] for i in range(statements)]
    with open(root / "embeddings-rows.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["conversation", "comment-id"], *rows])
    table = np.random.default_rng(seed).normal(size=(len(rows), dim)).astype(np.float32)
    write_tensors(root / "embeddings-random.safetensors", {"embeddings": table})
    return root


if __name__ == "__main__":
    command_line.main(run, Config)
