"""Which question to ask next: how many answers a rule needs where random questions need 20.

    python -m experiments.questions --data DIR --out RUN --splits 5
    python -m experiments.questions --out RUN --kind synthetic

DIR holds the folders of some Polis conversations (`experiments.polis` says more). The votes of the
voters who are kept out of the fit are replayed: each is asked one question after the other, out of
the pairs of statements that the voter agreed and disagreed with, and after each answer the voter's
other pairs are predicted. So all numbers here are about agree/disagree votes on statements that
people wrote. Rules differ in what they ask alone; adapting is the same for all of them:

    random         any pair; the mean of several draws
    information    mutual information of answer and weights
    variance       variance of the margin
    v_optimal      expected drop of the variance of all pairs of the table's statements
    v_later        the same, of pairs of the statements that will be predicted
    pref           PReF's rule: variance without what is known of the population
    questionnaire  one order for everybody, chosen before anybody answers
    at_once        as v_optimal, all questions of a user before the first answer

"synthetic": users drawn from a prior of rank 8, who answer by the model. The rules are then
compared where the model is true, and no basis is fitted.

Each (conversation, test, split) is one file in RUN/parts. RUN/results.json and RUN/tables.md: the
number of answers that a rule needs for the accuracy of random after `shots`, as a share of them;
and how much lower than random's its log loss is, with intervals about other voters and statements.

Time: a minute or two of CPU for each part of Polis, most of it fitting; a minute for synthetic.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import population_model
from experiments.common.gains_by_rule import gain_of, gains_table
from experiments.polis import data_folder
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.data.splits import Holdout, split_users
from lore_jax.datasets.polis.pairs import polis_preferences
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.evaluation.metrics import per_user_mean
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, rewards
from lore_jax.model.prior import GaussianPrior
from lore_jax.parallel.compiled_programs import drop_programs_if_many
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file
from lore_jax.users.criteria import Criterion, Targets
from lore_jax.users.questionnaire import choices, draw_users
from lore_jax.users.questions import as_components, ask_chunk, question_features

RULES = (
    "random",
    "information",
    "variance",
    "v_optimal",
    "v_later",
    "pref",
    "questionnaire",
    "at_once",
)
_PREF_RIDGE = 0.02
_FIT_PAIRS = 40  # of a user, as in `experiments.polis`
_JUDGED = (5, 10)  # answers after which log losses are compared


@dataclasses.dataclass(frozen=True)
class Config:
    """Replays votes, or synthetic answers, by several rules of asking.

    Attributes:
        out: where to write.
        data: the folder of the conversations (Polis without --smoke).
        kind: whose answers.
        splits: how many times statements and voters are split.
        first_split: the first split's number.
        tests: statements of the test pairs.
        shots: how many questions are asked.
        draws: how many times random questions are drawn.
        most_candidates: of a user, drawn from all.
        seed: seed of everything.
        smoke: tiny sizes.
    """

    out: Path
    data: Path | None = None
    kind: Literal["polis", "synthetic"] = "polis"
    splits: int = 3
    first_split: int = 0
    tests: tuple[Holdout, ...] = ("known items", "new items")
    shots: int = 20
    draws: int = 3
    most_candidates: int = 400
    seed: int = 0
    smoke: bool = False


class Replay(NamedTuple):
    """What is replayed.

    Attributes:
        model: the fitted model.
        answers: pairs that each user can be asked, oriented as answered.
        test: pairs to predict, of the same users.
        targets: mean of `f f'` over pairs of the table.
        later: the same over pairs of the responses of `test`.
    """

    model: Model
    answers: Preferences
    test: Preferences
    targets: np.ndarray
    later: np.ndarray


Curve = dict[str, list[float]]


class Replayed(NamedTuple):
    """What a rule's questions were worth.

    Attributes:
        curve: accuracy and log loss of the test pairs, macro over users, after 0, 1, ... answers.
        pair_loss: log loss of each test pair after some of them (`_JUDGED`), `[times, pairs]`.
    """

    curve: Curve
    pair_loss: np.ndarray


def replay(data: Replay, rule: str, shots: int, *, seed: int) -> Replayed:
    """Asks every user `shots` questions by a rule."""
    model, answers = data.model, data.answers
    own = candidates_of(answers)
    users, most = own.shape[:2]
    session = lore.Session(model, answers.embeddings, users=users, capacity=max(shots, 32))
    table = rewards(model, answers.embeddings).table
    order = questionnaire_order(data, own) if rule == "questionnaire" else None
    size = 1 << (users - 1).bit_length()
    place = np.minimum(np.arange(size), users - 1)
    features = question_features(table, jnp.asarray(np.sort(own, axis=2)[place]), jnp.float32(0.0))
    moment = data.later if rule == "v_later" else data.targets
    goal = Targets(jnp.asarray(moment), table[:1])
    asked = np.zeros((users, most), bool)
    found = [lore.margins(model, session.posterior, data.test)]
    criterion: Criterion = "variance" if rule == "pref" else "information"
    if rule in ("random", "v_optimal", "variance"):
        criterion = rule
    elif rule == "v_later":
        criterion = "v_optimal"

    def choose(known: Any, criterion: Criterion, count: int) -> np.ndarray:
        draw = (place + users * asked[place].sum(axis=1)).astype(np.int32)
        picks = ask_chunk(
            model.likelihood,
            jax.tree.map(lambda leaf: leaf[place], known),
            None,
            features,
            asked[place],
            goal,
            jax.random.key(seed),
            draw,
            criterion,
            count,
        )
        return np.asarray(picks.index)[:users]

    if rule == "at_once":
        order = np.full((users, most), float(shots))
        for turn, index in enumerate(choose(session.components, "v_optimal", shots).T):
            who = np.flatnonzero(index >= 0)
            order[who, index[who]] = turn
    for _ in range(shots):
        if order is not None:
            rank = np.where(asked | (own[:, :, 0] < 0), np.inf, order)
            index = np.where(np.isfinite(rank).any(axis=1), rank.argmin(axis=1), -1)
        else:
            known = pref_posterior(session, table) if rule == "pref" else session.components
            index = choose(known, criterion, 1)[:, 0]
        who = np.flatnonzero(index >= 0)
        asked[who, index[who]] = True
        if len(who):
            chosen, rejected = own[who, index[who]].T
            session.observe(chosen, rejected, who)
        found.append(lore.margins(model, session.posterior, data.test))
    losses = [-after.log_probability.astype(np.float64) for after in found]
    right = [(after.mean > 0) + 0.5 * (after.mean == 0) for after in found]
    curve = {
        "accuracy": [macro_mean(values, data.test) for values in right],
        "log_loss": [macro_mean(values, data.test) for values in losses],
    }
    return Replayed(curve, np.array([losses[n] for n in _JUDGED if n <= shots]))


def macro_mean(values: np.ndarray, test: Preferences) -> float:
    """The mean over users with test pairs of their means."""
    return float(np.nanmean(per_user_mean(values, test.user, test.num_users)))


def candidates_of(answers: Preferences) -> np.ndarray:
    """Each user's pairs (chosen, rejected), `[users, c, 2]`, padded by -1."""
    count = answers.pairs_per_user()
    first = np.cumsum(count) - count
    own = np.full((answers.num_users, int(count.max()), 2), -1, np.int32)
    place = np.arange(answers.num_pairs) - first[answers.user]
    own[answers.user, place] = np.stack([answers.chosen, answers.rejected], axis=1)
    return own


def pref_posterior(session: lore.Session, table: jax.Array) -> Any:
    """Means, and covariances `(ridge I + sum s (1 - s) f f')^-1` in place of the posterior's."""
    factor = np.asarray(session.model.prior.factor)  # pyright: ignore[reportAttributeAccessIssue]
    kept, rows = session.answers.take(np.arange(session.num_users)), np.asarray(table)
    weights = np.asarray(session.posterior.weights)
    covariance = np.empty((len(weights), factor.shape[0], factor.shape[0]), np.float32)
    for user, w in enumerate(weights):
        live = slice(0, int(kept.count[user]))
        f = rows[kept.chosen[user, live]] - rows[kept.rejected[user, live]]
        s, along = 1.0 / (1.0 + np.exp(-f @ w)), f @ factor
        hessian = _PREF_RIDGE * np.eye(factor.shape[1]) + (along.T * (s * (1 - s))) @ along
        covariance[user] = factor @ np.linalg.inv(hessian) @ factor.T
    return jax.device_get(as_components(weights, covariance))


def questionnaire_order(data: Replay, own: np.ndarray) -> np.ndarray:
    """When each user's candidate comes in a list for everybody, `[users, c]`.

    Pairs come by what their first asking is worth: nobody can answer all of the first ones.
    """
    if not np.any(np.asarray(data.model.prior.covariance)):  # the fit found that users are alike
        return np.random.default_rng(0).random(own.shape[:2])
    pairs, where = np.unique(np.sort(own, axis=2).reshape(-1, 2), axis=0, return_inverse=True)
    real = pairs[:, 0] >= 0
    nobody = lore.population_posterior(data.model, 1)
    empty = from_arrays(data.answers.embeddings, [], [], [], num_users=1)
    length = min(int(real.sum()), 400)
    listed = lore.ask(
        data.model, nobody, empty, pairs[real], count=length, criterion="v_optimal"
    ).index[0]
    rank = np.full(len(pairs), len(pairs), float)
    kept = listed[listed >= 0]
    rank[np.flatnonzero(real)[kept]] = np.arange(len(kept))
    noise = np.random.default_rng(0).random(len(pairs))  # pairs that are not in the list: any
    return (rank + noise)[where.reshape(-1)].reshape(own.shape[:2])


def polis_part(config: Config, root: Path, name: str, test: Holdout, split: int) -> Replay:
    """Fits a conversation's seen users; the unseen ones are replayed."""
    votes, embeddings = read_polis(root / name), load_polis_embeddings(root)
    table, seed = embeddings.of(votes).astype(np.float32), config.seed + split
    pairs = polis_preferences(
        votes,
        table,
        test=test,
        split_seed=seed,
        max_train_pairs=config.most_candidates,
        min_train_pairs=5 if config.smoke else 20,
        min_test_pairs=1 if config.smoke else 5,
    )
    seen, unseen = split_users(pairs.train.num_users, 0.3, seed=seed)
    train = lore.draw_shots(pairs.train.take_users(seen), _FIT_PAIRS, seed=seed)
    fit = population_model(holdout=test, group_by="response", smoke=config.smoke)
    model, _, _ = lore.fit(train, fit, key=jax.random.key(seed))
    of_table = np.asarray(rewards(model, table).table)
    return Replay(
        model,
        pairs.train.take_users(unseen),
        pairs.test.take_users(unseen),
        of_pairs_of(of_table, pairs.train),
        of_pairs_of(of_table, pairs.test),
    )


def of_pairs_of(table: np.ndarray, prefs: Preferences) -> np.ndarray:
    """Mean of `f f'` over pairs of the responses that were judged."""
    judged = np.unique(np.concatenate([prefs.chosen, prefs.rejected]))
    return 2.0 * np.atleast_2d(np.cov(table[judged].T)).astype(np.float32)


def synthetic_part(config: Config, split: int) -> Replay:
    """Users of a known prior of rank 8, whose directions differ in how much they matter.

    All can be asked the same pairs.
    """
    rank, responses = 8, 60 if config.smoke else 400
    users, c, tests = (12, 30, 10) if config.smoke else (256, 1000, 100)
    rng = np.random.default_rng(config.seed + split)
    table = rng.standard_normal((responses, rank)).astype(np.float32)
    scale = np.diag(np.geomspace(2.0, 0.3, rank)).astype(np.float32)
    prior = GaussianPrior(jnp.zeros(rank), jnp.asarray(scale))
    model = Model(LinearBasis(rank), {"V": jnp.eye(rank)}, jnp.ones(()), prior)
    weights = draw_users(model, users, jax.random.key(config.seed + split))
    first, second = np.triu_indices(responses, 1)
    drawn = rng.permutation(len(first))

    def compared(pairs: np.ndarray, key: int) -> Preferences:
        sides = np.tile(first[pairs], users), np.tile(second[pairs], users)
        user = np.repeat(np.arange(users), len(pairs))
        margin = np.sum((table[sides[0]] - table[sides[1]]) * weights[user], axis=1)
        is_first = choices(model.likelihood, margin, jax.random.key(key))
        chosen, rejected = np.where(is_first, *sides), np.where(is_first, *sides[::-1])
        return from_arrays(table, chosen, rejected, user, num_users=users)

    answers, test = compared(drawn[:c], 2 * split), compared(drawn[c : c + tests], 2 * split + 1)
    return Replay(model, answers, test, of_pairs_of(table, answers), of_pairs_of(table, test))


def part_of(data: Replay, config: Config, split: int) -> dict[str, Any]:
    """Every rule's curves, random's the means of its draws, and losses against random's."""
    curves, pair_loss = {}, {}
    for rule in RULES:
        drawn = [
            replay(data, rule, config.shots, seed=1000 * split + draw)
            for draw in range(config.draws if rule == "random" else 1)
        ]
        curves[rule] = {
            name: np.mean([one.curve[name] for one in drawn], axis=0).tolist()
            for name in ("accuracy", "log_loss")
        }
        pair_loss[rule] = np.mean([one.pair_loss for one in drawn], axis=0)
    gains = {
        rule: [gain_of(data.test, split, values) for values in pair_loss["random"] - losses]
        for rule, losses in pair_loss.items()
    }
    names = data.test.user_ids
    voters = [f"{split}-{user}" for user in range(data.test.num_users)] if names is None else names
    return {"curves": curves, "voters": list(voters), "gains": gains}


def answers_needed(curve: Sequence[float], accuracy: float) -> float:
    """After how many answers a curve first reaches an accuracy, between answers on a line."""
    for n, value in enumerate(curve):
        if value >= accuracy:
            before = curve[n - 1] if n else value
            return float(n) if n == 0 else n - (value - accuracy) / (value - before)
    return float("inf")


def tables(results: Sequence[Mapping[str, Any]], shots: int) -> str:
    """What the curves say, in Markdown: conversations and splits count alike."""
    text = ["# Questions"]
    for test in dict.fromkeys(part["test"] for part in results):
        parts = [part for part in results if part["test"] == test]
        mean = {
            rule: {
                name: np.mean([part["curves"][rule][name] for part in parts], axis=0)
                for name in ("accuracy", "log_loss")
            }
            for rule in RULES
        }
        target = mean["random"]["accuracy"][shots]
        rows = [["rule", "answers for random's", "share", *map(str, _shown(shots)), "log loss"]]
        for rule, curve in mean.items():
            needed = answers_needed(curve["accuracy"].tolist(), target)
            values = [f"{100 * curve['accuracy'][n]:.1f}" for n in _shown(shots)]
            loss = ", ".join(f"{curve['log_loss'][n]:.3f}" for n in (5, 10) if n <= shots)
            rows.append([rule, f"{needed:.1f}", f"{needed / shots:.0%}", *values, loss])
        text.append(
            f"## {test}: {len(parts)} parts\n\nAnswers that a rule needs for random's accuracy at "
            f"{shots}; accuracy in % after some; log loss after 5 and 10.\n\n{markdown(rows)}"
        )
    return "\n\n".join(text)


def _shown(shots: int) -> list[int]:
    return [n for n in (0, 1, 2, 3, 5, 7, 10, 15, 20, 40) if n <= shots]


def run(config: Config) -> list[dict[str, Any]]:
    """Makes the parts that are missing, then the tables."""
    folder = config.out / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    splits = range(config.first_split, config.first_split + (1 if config.smoke else config.splits))
    if config.kind == "synthetic":
        wanted = [("synthetic", "synthetic", split) for split in splits]
        root = None
    else:
        root = data_folder(config.data, config.out, smoke=config.smoke, seed=config.seed)
        names = sorted(path.parent.name for path in root.glob("*/comments.csv"))
        wanted = [(n, test, split) for test in config.tests for split in splits for n in names]
    results, judged = [], [n for n in _JUDGED if n <= config.shots]
    for name, test, split in wanted:
        path = folder / f"{name}-{test.replace(' ', '-')}-{split}.json"
        if not path.exists():
            drop_programs_if_many()
            if root is None:
                data = synthetic_part(config, split)
            else:
                data = polis_part(config, root, name, test, split)  # pyright: ignore
            part = {"data": name, "test": test, "split": split}
            part |= part_of(data, config, split)
            write_file(path, [json.dumps(part).encode()])
        results.append(json.loads(path.read_bytes()))
        text = f"{tables(results, config.shots)}\n\n{gains_table(results, RULES[1:], judged)}"
        write_file(config.out / "tables.md", [text.encode(), b"\n"])
    write_file(config.out / "results.json", [json.dumps(results).encode()])
    print(text)
    return results


if __name__ == "__main__":
    command_line.main(run, Config)
