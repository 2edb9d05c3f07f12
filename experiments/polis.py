"""Polis: do people's votes on statements become more predictable when each person gets weights of
their own?

    python -m experiments.polis --data DIR --out RUN --splits 10      (the README's numbers; three splits by default)

DIR holds the folders of some Polis conversations and the embeddings of their statements
(`lore_jax.datasets.polis`). From the folders alone, with embeddings made here by a sentence encoder
of your choice:

    lore-jax embed DIR/*/ --model MODEL_DIR --out CACHE
    python -m experiments.polis --data DIR --embeddings CACHE --out RUN

Users are voters; a pair sets a statement the voter agreed with against one the voter disagreed
with. So all numbers here are about agree/disagree votes on statements that people wrote, not about
replies of a language model.

Every conversation is a data set of its own. 30 % of the voters are kept out of the fit and adapted
to from 0 to 40 pairs (shots). Two tests: pairs of statements that nobody voted on in training
(unseen), and pairs of the voter's own remaining statements, on which others may have voted (seen).
Rank and ridges are chosen on validation folds of the fit's pairs; the paper's objective is shown at
four ranks and, generously, at the best of them *chosen on the test* of each conversation.

Each (conversation, test, split) is one file in RUN/parts: a run that was stopped goes on where it
was. RUN/results.json holds everything, RUN/tables.md the tables, RUN/figures what is drawn from the
JSON.

Time: about a minute of CPU for each part, two for a first one, most of it compiling: ten splits
take an hour on two cores, less in two processes (`--tests`). Expected (unseen users, 20 shots,
average over the conversations, ten splits): unseen statements, gaussian 65.8, ridge BT 64.2, the
paper's objective at its best rank 61.5; seen statements, 85.5, 81.8 and 83.5.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from tqdm import tqdm

import lore_jax as lore
from lore_jax.data.four_way import split_digest
from lore_jax.data.splits import Holdout, split_users
from lore_jax.datasets.polis.pairs import polis_preferences
from lore_jax.datasets.polis.votes import Votes, load_polis_embeddings, read_polis
from lore_jax.datasets.sources import polis_embeddings_in_cache
from lore_jax.evaluation.conclusion import average, conclude, difference
from lore_jax.evaluation.controls import permute_users
from lore_jax.evaluation.disagreement import describe_axes, with_texts
from lore_jax.evaluation.evaluate import PERMUTED_USERS, Condition, evaluate, method
from lore_jax.evaluation.results import (
    Results,
    describe_split,
    join,
    make_results,
    plain,
    read_results,
    select,
    write_results,
)
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
from lore_jax.storage.safetensors import write_tensors

NOTE = "Pairs come from agree/disagree votes of people on statements that people wrote (Polis open data, CC BY 4.0)."
BEST_PAPER = "paper, best rank on test"


@dataclasses.dataclass(frozen=True)
class Config:
    """Predicts votes of Polis conversations: the paper's objective, ridge Bradley-Terry, and the
    population model.

    Attributes:
        out: where to write.
        data: the folder of the conversations (not with --smoke).
        embeddings: a cache that has the statements, from `lore-jax embed` of their folders; None:
            the embeddings that lie in `data`.
        splits: how many times statements and voters are split.
        conversations: which of the folders to take; none: all.
        tests: statements of the test pairs.
        seed: seed of everything.
        smoke: two made-up conversations, one split, and fits of a few steps, to see that everything
            runs.
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
class Protocol:
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


def protocol(test: Holdout, *, smoke: bool) -> Protocol:
    """The fits; validation mirrors the test. Embeddings of unit norm times 30 suit the paper's
    temperature of 100.
    """
    simplex = lore.SimplexConfig(scale=30.0, steps=10 if smoke else 1000)
    papers = {
        f"paper, rank {r}": dataclasses.replace(lore.PAPER, rank=r, simplex=simplex)
        for r in (1, 2, 5, 10)
    }
    bradley_terry = dataclasses.replace(lore.RIDGE_BRADLEY_TERRY, use=test, group_by="response")
    gaussian = lore.FitConfig(use=test, group_by="response")
    if not smoke:
        return Protocol({**papers, "ridge BT": bradley_terry, "gaussian": gaussian})
    given = {
        "ridge_population": 10.0,
        "ridge_deviation": 3.0,
        "num_components": 0,
        "logit_scale": 1.0,
    }
    bradley_terry = dataclasses.replace(bradley_terry, **given)
    short = lore.PopulationConfig(steps=5)
    gaussian = dataclasses.replace(gaussian, rank=2, item_effects=0.0, population=short, **given)
    fits = {
        "paper, rank 2": papers["paper, rank 2"],
        "ridge BT": bradley_terry,
        "gaussian": gaussian,
    }
    return Protocol(fits, (), (0, 5, 10), {"min_train_pairs": 5, "min_test_pairs": 1})


def run(config: Config) -> Results:
    """All parts, then what they say together."""
    root = (
        make_conversations(config.out / "data", seed=config.seed) if config.smoke else config.data
    )
    if root is None or not root.is_dir():
        raise FileNotFoundError(
            f"{root} is not a folder: --data must name the folder of the Polis conversations"
        )
    names = config.conversations or sorted(path.parent.name for path in root.glob("*/comments.csv"))
    conversations = {name: read_polis(root / name) for name in names}
    if config.embeddings is None:
        embeddings = load_polis_embeddings(root)
    else:
        embeddings = polis_embeddings_in_cache(config.embeddings, list(conversations.values()))

    folder = config.out / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    splits = 1 if config.smoke else config.splits
    todo: list[tuple[str, Holdout, int]] = [
        (name, test, split) for split in range(splits) for test in config.tests for name in names
    ]
    parts = []
    for name, test, split in tqdm(todo, desc="conversations x tests x splits", disable=None):
        path, asked = (
            folder / f"{name}-{test.replace(' ', '-')}-{split}.json",
            protocol(test, smoke=config.smoke),
        )
        if not path.exists():
            votes = conversations[name]
            table = embeddings.of(votes).astype(np.float32)
            part = evaluate_part(votes, table, asked, test, split, seed=config.seed + split)
            write_results(path, {**part, "encoder": embeddings.encoder})
            if len(parts) % 10 == 9:
                # the programs of some thirty parts are more memory maps than Linux allows a process
                jax.clear_caches()
        parts.append(read_results(path))
        if parts[-1]["config"] != plain(asked) or parts[-1]["seed"] != config.seed + split:
            raise ValueError(
                f"{path} was made with other settings: remove it, or give another --out"
            )
        if parts[-1].get("encoder") != embeddings.encoder:
            raise ValueError(
                f"{path} was made with another encoder's embeddings: remove it, or give another --out"
            )

    results = with_best_paper(join(parts), asked.shots[-2])
    results["encoder"] = embeddings.encoder
    results["config"] = plain(
        {"asked": config, **{test: protocol(test, smoke=config.smoke) for test in config.tests}}
    )
    results["conclusions"] = {
        test: conclude(results, "gaussian", items=test, shots=asked.shots[-2])
        for test in config.tests
    }
    text = tables(results, names, config.tests, asked.shots[-2])
    write_results(config.out / "results.json", results)
    (config.out / "tables.md").write_text(text + "\n")
    save_figures(
        results, config.out / "figures", methods=(BEST_PAPER, "ridge BT", "gaussian"), note=NOTE
    )
    print(f"{text}\n\nSaved results.json, tables.md, parts and figures in {config.out}")
    return results


def evaluate_part(
    votes: Votes, table: np.ndarray, asked: Protocol, test: Holdout, split: int, *, seed: int
) -> Results:
    """One split of one conversation: split, fit, adapt, evaluate."""
    drawn = polis_preferences(votes, table, test=test, split_seed=seed, **asked.limits)
    seen, unseen = split_users(drawn.train.num_users, 0.3, seed=seed)
    train, shots = drawn.train.take_users(seen), drawn.train.take_users(unseen)
    of_seen = Condition("seen", test, train, drawn.test.take_users(seen))
    of_unseen = Condition("unseen", test, shots, drawn.test.take_users(unseen))
    key = jax.random.key(seed)
    about: dict[str, Any] = {"data": votes.conversation, "split": split}

    fitted = {name: lore.fit(train, config, key=key) for name, config in asked.fits.items()}
    chosen = {name: history.choice for name, (_, _, history) in fitted.items()}
    ridges = {name: value for name, value in chosen["gaussian"].items() if name != "rank"}
    for rank in asked.fixed_ranks:
        config = dataclasses.replace(asked.fits["gaussian"], rank=rank, **ridges)
        fitted[f"gaussian, rank {rank}"] = lore.fit(train, config, key=key)
    methods = {name: method(model, users) for name, (model, users, _) in fitted.items()}
    rows = evaluate(methods, [of_unseen, of_seen], shots=asked.shots, seed=seed, **about)

    if split == 0:
        rows += shuffled_control(asked, of_seen, of_unseen, chosen, seed=seed, **about)

    entry = describe_split(
        {"seen": np.asarray(train.user_ids), "unseen": np.asarray(shots.user_ids)},
        items=(test,),
        group_by="response",
        digest=split_digest([seen, unseen], [drawn.train, drawn.test]),
        chosen=chosen,
        dropped={
            "users": drawn.num_dropped_users,
            "cross_split": drawn.num_cross_split,
            "kept": drawn.num_inside,
        },
        **about,
    )
    model, users, _ = fitted["gaussian"]
    axes = describe_axes(
        model, {"seen users": users, "unseen users": lore.adapt(model, shots)}, table
    )
    axes = with_texts(axes, ((votes.conversation, text) for text in votes.texts))
    return make_results(
        rows, [entry], name="polis", config=asked, seed=seed, axes={votes.conversation: axes}
    )


def shuffled_control(
    asked: Protocol,
    of_seen: Condition,
    of_unseen: Condition,
    chosen: dict[str, Any],
    *,
    seed: int,
    **about: Any,
) -> list[Any]:
    """The control: the same pipeline, choices included, on pairs that are dealt out to the users at
    random.
    """
    shuffled = [
        condition._replace(
            shots=permute_users(condition.shots, seed=seed),
            test=permute_users(condition.test, seed=seed + 1),
        )
        for condition in (of_unseen, of_seen)
    ]
    model, users, history = lore.fit(
        shuffled[1].shots, asked.fits["gaussian"], key=jax.random.key(seed)
    )
    chosen[f"gaussian, {PERMUTED_USERS}"] = history.choice
    methods = {"gaussian": method(model, users)}
    return evaluate(
        methods, shuffled, shots=asked.shots, control=PERMUTED_USERS, seed=seed, **about
    )


def with_best_paper(results: Results, shots: int) -> Results:
    """Adds the paper's objective at the rank that is best on the test pairs themselves,
    conversation by conversation.
    """
    papers = [
        name
        for name in dict.fromkeys(row["method"] for row in results["rows"])
        if name.startswith("paper")
    ]
    added = []
    for data, items in dict.fromkeys((row["data"], row["items"]) for row in results["rows"]):
        condition: dict[str, Any] = {"data": data, "items": items, "control": None}
        accuracy = {
            name: average(
                results, {**condition, "method": name, "users": "unseen", "shots": shots}
            ).mean
            for name in papers
        }
        best = max(papers, key=accuracy.__getitem__)
        added += [
            {**row, "method": BEST_PAPER} for row in select(results, **condition, method=best)
        ]
    return {**results, "rows": [*results["rows"], *added]}


def tables(results: Results, names: Sequence[str], tests: tuple[Holdout, ...], shots: int) -> str:
    """What the results say, in Markdown."""
    methods = [
        *dict.fromkeys(row["method"] for row in results["rows"] if row["method"] != "gaussian")
    ]
    lines = {name: of(name) for name in methods} | method_lines(results, ["gaussian"])
    out = [
        f"# Polis\n\n{NOTE} Accuracy in %, macro over users, with 95 % intervals (users and splits resampled)."
    ]
    for test in tests:
        condition: dict[str, Any] = {"users": "unseen", "items": test, "shots": shots}
        columns = {name: {**condition, "data": name} for name in names} | {"average": condition}
        differences = [["gaussian minus", *columns]]
        for other in ("ridge BT", BEST_PAPER):
            pairs = [(column | of("gaussian"), column | of(other)) for column in columns.values()]
            differences.append(
                [other, *(show(difference(results, *pair).interval()) for pair in pairs)]
            )
        said = results["conclusions"][test]
        out += [
            f"## {test.capitalize()} statements\n\n{said['sentence']}. Significantly better off are {said['better']} of "
            f"{said['users']} users, worse off {said['worse']} (by chance at most 2.5 % each).",
            f"Unseen users, {shots} shots:\n\n{table(results, lines, columns)}",
            f"Paired differences in points, unseen users, {shots} shots:\n\n{markdown(differences)}",
            f"Unseen users, average over conversations:\n\n{table(results, lines, shots_columns(results, items=test))}",
            f"All measures, unseen users, {shots} shots:\n\n{measures(results, lines, condition)}",
        ]
    out.append(
        f"## Seen and unseen users\n\n{table(results, lines, four_way_columns(results, shots=shots))}"
    )
    return "\n\n".join(out)


def of(name: str) -> dict[str, Any]:
    return {"method": name, "control": None}


def make_conversations(root: Path, *, seed: int) -> Path:
    """Two small made-up conversations with two components of voters and random embeddings, in the
    published format.
    """
    rng, statements, voters = np.random.default_rng(seed), 24, 20
    rows = []
    for name in ("one", "two"):
        (root / name).mkdir(parents=True, exist_ok=True)
        written = [["comment-id", "moderated", "comment-body"]]
        written += [[i, 1, f"Statement {i} of conversation {name}"] for i in range(statements)]
        leaning = rng.normal(size=(2, statements))
        votes = [["timestamp", "comment-id", "voter-id", "vote"]]
        for voter in range(voters):
            vote = np.sign(leaning[voter % 2] + 0.5 * rng.normal(size=statements))
            votes += [[0, i, voter, int(vote[i])] for i in rng.permutation(statements)[:18]]
        for file, content in (("comments.csv", written), ("votes.csv", votes)):
            with open(root / name / file, "w", newline="") as stream:
                csv.writer(stream).writerows(content)
        rows += [[name, i] for i in range(statements)]
    with open(root / "embeddings-rows.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["conversation", "comment-id"], *rows])
    table = rng.normal(size=(len(rows), 16)).astype(np.float32)
    write_tensors(root / "embeddings-random.safetensors", {"embeddings": table})
    return root


if __name__ == "__main__":
    run(tyro.cli(Config, description=Config.__doc__))
