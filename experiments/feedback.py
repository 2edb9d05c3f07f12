"""What answers other than strict pairs are worth, and how they are predicted.

    python -m experiments.feedback --out RUN [--data POLIS] [--cache CACHE]

Synthetic users, whose basis and population are known: how many strict pairs tell as much of a new
user as ten strengths of five levels, one ranking of four, and so on; what ties add to pairs, a
third of which are ties; what rankings tell that are asked for; what an answer costs in adapting;
what a wrong lapse rate costs.
Users of whom nothing is known but their answers, basis and cut points fitted: how well every
outcome is calibrated, and what is gained over the strict pairs of the same answers.

With --data, one Polis conversation: votes of three levels, "pass" in the middle, against pairs of
an agreed and a disagreed statement of the same votes, for unseen voters, on new and on known
statements. With --cache, a cache that keeps answers as they were said (PRISM's scores, Community
Alignment's choices among four, what `prepare` read): against the strict pairs that the same answers
make, for unseen users and held-out prompts.

Each part is one file in RUN/parts: a run that was stopped goes on where it was. Time and expected
numbers: `experiments/README.md`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from experiments.abstention import LAND_BANK
from experiments.common import command_line
from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers
from lore_jax.data.feedback_splits import draw_answers, hold_out, strict_pairs
from lore_jax.data.splits import split_users
from lore_jax.datasets.polis.votes import load_polis_embeddings, read_polis
from lore_jax.datasets.synthetic import Synthetic, SyntheticConfig, synthetic
from lore_jax.datasets.synthetic_feedback import FIVE, STARS, TIES, TRUE_ANSWERS, synthetic_feedback
from lore_jax.evaluation.feedback import score_answers
from lore_jax.fitting.feedback import fit_feedback
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.prior import GaussianPrior
from lore_jax.storage.cache.answers import load_feedback
from lore_jax.storage.files import write_file
from lore_jax.users.answer_questions import ask_answers
from lore_jax.users.answering import adapt_answers, answer_probabilities

PAIRS = Kind("pair", 2, levels=2)
RANKING = Kind("ranking", 4, places=3)
CHOICE = Kind("ranking", 4, places=1)
ENDS = Kind("best_worst", 4)
REPLIES = 4
MANY_TIES = dataclasses.replace(TRUE_ANSWERS, free={TIES.scale: jnp.array([0.2])})
# Everything nearer than a threshold is a tie, but for noise.
THRESHOLD_TIES = dataclasses.replace(
    TRUE_ANSWERS, free={TIES.scale: jnp.array([0.0])}, ties="rao-kupper"
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures what answers other than strict pairs are worth.

    Attributes:
        out: where to write.
        data: the folder of the Polis conversations; None: synthetic users alone.
        conversation: which of them.
        cache: a cache with answers.
        users: synthetic users.
        splits: of the Polis conversation and of the cache.
        smoke: few users and steps, to see that everything runs.
    """

    out: Path
    data: Path | None = None
    conversation: str = LAND_BANK
    cache: Path | None = None
    users: int = 3000
    splits: int = 5
    smoke: bool = False


def truth_of(users: int) -> Synthetic:
    """Users whose margins are of 2 logits, half of their variance personal."""
    config = SyntheticConfig(
        num_users=users, num_prompts=300, responses_per_prompt=REPLIES, dim=32, rank=5, noise=0.5
    )
    return synthetic(config, seed=0)


def right(truth: Synthetic, users: lore.Posterior, model: lore.Model | None = None) -> float:
    """Share of random pairs of which the truly better response is found."""
    drawn = synthetic_feedback(truth, {PAIRS: 40}, responses_per_prompt=REPLIES, seed=99)
    pairs = strict_pairs(drawn.feedback)
    rewards = np.asarray(pairs.embeddings) @ truth.basis
    apart = rewards[pairs.chosen] - rewards[pairs.rejected]
    margin = np.einsum("pr,pr->p", truth.weights[pairs.user], apart)
    found = lore.margins(model or truth.model, users, pairs).mean
    return float(np.mean(np.sign(found) == np.sign(margin)))


def worth(config: Config) -> dict[str, Any]:
    """In strict pairs: what some answers tell of new users, basis and cut points known."""
    truth = truth_of(200 if config.smoke else config.users)
    counts = (1, 10) if config.smoke else (1, 2, 3, 4, 6, 8, 10, 14, 20, 30)

    def accuracy(kind: Kind, count: int) -> float:
        seeds = range(1 if config.smoke else 2)
        values = []
        for seed in seeds:
            drawn = synthetic_feedback(
                truth, {kind: count}, responses_per_prompt=REPLIES, seed=seed
            )
            known = adapt_answers(truth.model, TRUE_ANSWERS, drawn.feedback)
            values.append(right(truth, known.users))
        return float(np.mean(values))

    curve = [accuracy(PAIRS, count) for count in counts]
    rows = {"pairs": dict(zip(map(str, counts), curve, strict=True))}
    compared = [(FIVE, 10), (RANKING, 1), (RANKING, 4), (CHOICE, 4), (ENDS, 4)]
    compared += [(TIES, 10), (STARS, 10)]
    for kind, count in compared[: 2 if config.smoke else None]:
        value = accuracy(kind, count)
        equal = float(np.interp(value, np.maximum.accumulate(curve), counts))
        rows[f"{count} {kind}"] = {"accuracy": value, "as many as pairs": equal}
    return rows


def ties(config: Config) -> dict[str, Any]:
    """Pairs or ties of new users, 30 % of them ties: used, and dropped."""
    truth = truth_of(200 if config.smoke else config.users)
    rows: dict[str, Any] = {}
    for how in (MANY_TIES, THRESHOLD_TIES):
        own: dict[str, Any] = {}
        for count in (10,) if config.smoke else (10, 20, 40):
            drawn = synthetic_feedback(
                truth, {TIES: count}, responses_per_prompt=REPLIES, seed=1, how=how
            )
            feedback = drawn.feedback
            own["share of ties"] = float(np.mean(feedback.blocks[0].outcome == 1))
            used = adapt_answers(truth.model, how, feedback).users
            dropped = lore.adapt(truth.model, strict_pairs(feedback))
            own[f"{count} answers"] = {"used": right(truth, used), "dropped": right(truth, dropped)}
            if count <= 20:
                own[f"{count} answers, exact Bayes"] = exact_bayes(config, how, count)
        own["information used over dropped"] = information_of_ties(truth, how)
        rows[f"basis known, {how.ties}"] = own
    # Basis and tie parameter learned from few users, whose own directions are to be found.
    truth = truth_of(60 if config.smoke else 200)
    drawn = synthetic_feedback(
        truth, {TIES: 20}, responses_per_prompt=REPLIES, seed=1, how=MANY_TIES
    )
    method = given(5 if config.smoke else 100, rank=6, ridge=1.0, effects=0.0)
    found = fit_feedback(drawn.feedback, method, key=jax.random.key(0))
    model, users, _ = lore.fit(strict_pairs(drawn.feedback), method, key=jax.random.key(0))
    rows["200 users x 20 answers, fitted"] = {
        "used": right(truth, found.users.users, found.model),
        "dropped": right(truth, users, model),
    }
    return rows


def lapses(config: Config) -> dict[str, Any]:
    """Pairs of which a tenth are at random: what a lapse rate too low or too high costs.

    Twenty pairs of each new user, and as many held out.
    """
    truth = truth_of(50 if config.smoke else min(config.users, 1000))
    drawn = synthetic_feedback(
        truth, {PAIRS: 40}, responses_per_prompt=REPLIES, seed=1, lapse=0.1
    ).feedback
    shots, test = draw_answers(drawn, 20, seed=0)
    rows: dict[str, Any] = {}
    for rate in (0.1,) if config.smoke else (0.0, 0.05, 0.1, 0.2):
        how = dataclasses.replace(TRUE_ANSWERS, lapse=rate)
        known = adapt_answers(truth.model, how, shots)
        (said,) = answer_probabilities(truth.model, how, known, test)
        log_loss = -float(np.mean(said.log_probability))
        rows[f"rate {rate:g}"] = {"right": right(truth, known.users), "log_loss": log_loss}
    return rows


def asked(config: Config) -> dict[str, Any]:
    """Rankings of four of 100 prompts: after a first one the most informative, or any."""
    truth = truth_of(50 if config.smoke else min(config.users, 1000))
    users, embeddings = np.arange(len(truth.weights)), truth.prefs.embeddings
    table = np.asarray(embeddings, np.float32) @ truth.basis
    candidates = np.arange(100 * REPLIES, dtype=np.int32).reshape(100, REPLIES)
    rows: dict[str, Any] = {}
    for chosen in ("at random", "by information"):
        known, said = None, []
        done = np.zeros((len(users), len(candidates)), bool)
        for number in range(1 if config.smoke else 4):
            rng = np.random.default_rng(number)
            index = rng.integers(len(candidates), size=len(users))
            if chosen == "by information" and known is not None:
                found = ask_answers(
                    truth.model, TRUE_ANSWERS, known, embeddings, RANKING, candidates, asked=done
                )
                index = found.index[:, 0]
            done[users, index] = True
            own = np.einsum("ur,uir->ui", truth.weights, table[candidates[index]])
            order = np.argsort(-(own + rng.gumbel(size=own.shape)), axis=1)
            ranked = np.take_along_axis(candidates[index], order, axis=1)
            said.append(answers(RANKING, ranked, users))
            feedback = from_answers(embeddings, said, num_users=len(users))
            known = adapt_answers(truth.model, TRUE_ANSWERS, feedback)
            rows[f"{number + 1} {chosen}"] = right(truth, known.users)
    return rows


def exact_bayes(config: Config, how: AnswerModel, count: int) -> dict[str, float]:
    """What ties can tell at most: users by draws of the prior, weighted by their answers.

    Of every test pair the response is picked that is better in more of the posterior.
    """
    truth, draws = truth_of(50 if config.smoke else 400), 1000 if config.smoke else 10_000
    drawn = synthetic_feedback(truth, {TIES: count}, responses_per_prompt=REPLIES, seed=1, how=how)
    block, prior = drawn.feedback.blocks[0], truth.model.prior
    assert isinstance(prior, GaussianPrior)
    table = np.asarray(lore.rewards(truth.model, drawn.feedback.embeddings).table)
    noise = np.random.default_rng(2).standard_normal((draws, prior.factor.shape[1]))
    weights = (np.asarray(prior.mean) + noise @ np.asarray(prior.factor).T).astype(np.float32)
    asked = synthetic_feedback(truth, {PAIRS: 40}, responses_per_prompt=REPLIES, seed=99).feedback
    pairs, features = strict_pairs(asked), table[block.items[:, 0]] - table[block.items[:, 1]]
    apart = table[pairs.chosen] - table[pairs.rejected]
    better = np.einsum("pr,pr->p", truth.weights[pairs.user], apart) > 0
    found: dict[str, list[np.ndarray]] = {"used": [], "dropped": []}
    for user in range(len(truth.weights)):
        own, test = block.user == user, pairs.user == user
        margin, outcome = features[own] @ weights.T, block.outcome[own]
        level = np.broadcast_to(outcome[:, None], margin.shape)
        said = -np.asarray(how.likelihood(TIES, jnp.asarray(level)).loss(jnp.asarray(margin)))
        # The chance of an answer that is no tie, whatever it says, is that of a tie's complement.
        tie = jnp.asarray(np.ones_like(level))
        is_tie = np.exp(-np.asarray(how.likelihood(TIES, tie).loss(jnp.asarray(margin))))
        strict = np.where(level == 1, 0.0, said - np.log1p(-is_tie))
        wins = (apart[test] @ weights.T) > 0
        for name, log_probability in (("used", said), ("dropped", strict)):
            total = log_probability.sum(axis=0)
            share = np.exp(total - total.max())
            found[name].append((wins @ share > 0.5 * share.sum()) == better[test])
    return {name: float(np.mean(np.concatenate(values))) for name, values in found.items()}


def information_of_ties(truth: Synthetic, how: AnswerModel) -> float:
    """Fisher's information of a margin, mean over answers: ties used, over ties dropped."""
    drawn = synthetic_feedback(truth, {TIES: 10}, responses_per_prompt=REPLIES, seed=1, how=how)
    block = drawn.feedback.blocks[0]
    rewards = np.asarray(drawn.feedback.embeddings, np.float32) @ truth.basis
    apart = rewards[block.items[:, 0]] - rewards[block.items[:, 1]]
    margin = jnp.asarray(np.einsum("pr,pr->p", truth.weights[block.user], apart))

    def of_level(level: int) -> tuple[np.ndarray, np.ndarray]:
        likelihood = how.likelihood(TIES, jnp.full(margin.shape, level))
        loss, slope = likelihood.loss(margin), likelihood.slope(margin)
        return np.exp(-np.asarray(loss)), np.asarray(slope)

    (second, down), (tie, middle), (first, up) = map(of_level, range(3))
    used = second * down**2 + tie * middle**2 + first * up**2
    # Of the second and the first alone: their slopes less the slope of "no tie".
    dropped = second * first / (second + first) * (up - down) ** 2
    return float(np.mean(used) / np.mean(dropped))


def fitted(config: Config) -> dict[str, Any]:
    """Everything fitted: calibration for new users, and what strict pairs of the same give."""
    truth = truth_of(160 if config.smoke else min(config.users, 800))
    mixture = {FIVE: 15, STARS: 15}
    if not config.smoke:
        mixture |= {TIES: 15, RANKING: 8, ENDS: 8}
    steps = 5 if config.smoke else 100
    method = given(steps, rank=6, ridge=1.0, effects=0.0)
    alone = {} if config.smoke else {str(kind): {kind: n} for kind, n in mixture.items()}
    rows = {}
    for name, kinds in {**alone, "all": mixture}.items():
        drawn = synthetic_feedback(truth, kinds, responses_per_prompt=REPLIES, seed=2)
        seen, unseen = split_users(len(truth.weights), 0.3, seed=0)
        train = drawn.feedback.take_users(seen)
        shots, test = hold_out(drawn.feedback.take_users(unseen), 0.4, by="answer", seed=0)
        found = fit_feedback(train, method, key=jax.random.key(0))
        known = adapt_answers(found.model, found.answers, shots)
        model, _, _ = lore.fit(strict_pairs(train), method, key=jax.random.key(0))
        theirs = truth._replace(weights=truth.weights[unseen])
        probabilities = answer_probabilities(found.model, found.answers, known, test)
        rows[name] = {
            "right": right(theirs, known.users, found.model),
            "right by strict pairs": right(theirs, lore.adapt(model, strict_pairs(shots)), model),
            "kinds": [row._asdict() for row in score_answers(probabilities)],
        }
    return rows


def cost(config: Config) -> dict[str, Any]:
    """Microseconds of CPU of adapting, an answer: 16 answers of each user, a small table.

    Beside answers about several responses stands what all the pairs cost that such an answer makes.
    Kinds take turns, for other programs on the machine slow down all of them.
    """
    truth = truth_of(500 if config.smoke else 20_000)
    calls: dict[str, Callable[[], object]] = {}
    kinds = (PAIRS, RANKING) if config.smoke else (PAIRS, TIES, FIVE, STARS, CHOICE, RANKING, ENDS)
    for kind in kinds:
        drawn = synthetic_feedback(truth, {kind: 16}, responses_per_prompt=REPLIES, seed=0)
        calls[str(kind)] = functools.partial(
            adapt_answers, truth.model, TRUE_ANSWERS, drawn.feedback
        )
        if kind == PAIRS or kind.num_items > 2:
            pairs = strict_pairs(drawn.feedback)
            name = "pairs, by adapt" if kind == PAIRS else f"the pairs of {kind}, by adapt"
            calls[name] = functools.partial(lore.adapt, truth.model, pairs)
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(2 if config.smoke else 12):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            seconds[name] = min(seconds[name], time.process_time() - begun)
    return {name: 1e6 * value / (16 * len(truth.weights)) for name, value in seconds.items()}


def given(steps: int, *, rank: int, ridge: float, effects: float) -> lore.FitConfig:
    """The population model with everything given."""
    return lore.FitConfig(
        lore.PopulationConfig(
            steps,
            0.05,
            rank=rank,
            ridge_population=ridge,
            ridge_deviation=ridge,
            item_effects=effects,
            item_effects_deviation=effects,
            num_components=0,
            logit_scale=1.0,
        )
    )


def polis(config: Config, split: int) -> dict[str, Any]:
    """One split of a conversation: unseen voters' pairs, after twenty of their votes."""
    assert config.data is not None
    votes = read_polis(config.data / config.conversation)
    table = load_polis_embeddings(config.data).of(votes).astype(np.float32)
    levels = answers(
        Kind("rating", 1, levels=3),
        votes.statement,
        votes.voter,
        outcome=votes.vote.astype(int) + 1,
    )
    feedback = from_answers(table, [levels], num_users=len(votes.voter_ids))
    feedback = feedback.take_users(np.flatnonzero(feedback.answers_per_user() >= 20))
    seen, unseen = split_users(feedback.num_users, 0.3, seed=split)
    rows = {}
    cuts: tuple[tuple[str, Literal["response", "answer"]], ...]
    cuts = ("new items", "response"), ("known items", "answer")
    for test, by in cuts:
        share = 0.3 if by == "response" else 0.25
        kept, held = hold_out(feedback, share, by=by, seed=split)
        train, shots = kept.take_users(seen), kept.take_users(unseen)
        shots, _ = draw_answers(shots, 20, seed=split)
        pairs = strict_pairs(held.take_users(unseen), max_pairs=20, seed=split)
        # Statements that are judged again have effects of their own, new ones none.
        for ridge in (1.0, 3.0, 10.0):
            method = given(60, rank=5, ridge=ridge, effects=0.5)
            found = fit_feedback(train, method, key=jax.random.key(0))
            known = adapt_answers(found.model, found.answers, shots)
            of_pairs, _, _ = lore.fit(
                strict_pairs(train, max_pairs=40), method, key=jax.random.key(0)
            )
            users = lore.adapt(of_pairs, strict_pairs(shots, max_pairs=40))
            rows[f"{test}, ridge {ridge:g}"] = {
                "three levels": _of_pairs(lore.margins(found.model, known.users, pairs)),
                "pairs": _of_pairs(lore.margins(of_pairs, users, pairs)),
                "test pairs": pairs.num_pairs,
            }
    return rows


def cached(config: Config, split: int) -> dict[str, Any]:
    """One split of a cache: unseen users' held-out pairs, by what they said and by its pairs."""
    assert config.cache is not None
    feedback = load_feedback(config.cache)
    seen, unseen = split_users(feedback.num_users, 0.3, seed=split)
    kept, held = hold_out(feedback, 0.3, by="prompt", seed=split)
    train, shots = kept.take_users(seen), kept.take_users(unseen)
    pairs = strict_pairs(held.take_users(unseen), seed=split)
    rows: dict[str, Any] = {"answers": repr(feedback), "test pairs": pairs.num_pairs}
    for ridge in (3.0,) if config.smoke else (1.0, 3.0, 10.0, 30.0):
        method = given(5 if config.smoke else 60, rank=5, ridge=ridge, effects=0.0)
        found = fit_feedback(train, method, key=jax.random.key(0))
        known = adapt_answers(found.model, found.answers, shots)
        of_pairs, _, _ = lore.fit(strict_pairs(train), method, key=jax.random.key(0))
        users = lore.adapt(of_pairs, strict_pairs(shots))
        rows[f"ridge {ridge:g}"] = {
            "as said": _of_pairs(lore.margins(found.model, known.users, pairs)),
            "pairs": _of_pairs(lore.margins(of_pairs, users, pairs)),
        }
    return rows


def _of_pairs(margins: Any) -> dict[str, float]:
    return {
        "accuracy": float(np.mean(margins.mean > 0)),
        "log_loss": -float(np.mean(margins.log_probability)),
    }


def run(config: Config) -> dict[str, Any]:
    """Measures everything; prints and writes `results.json`."""
    parts: dict[str, Any] = {"worth": worth, "ties": ties, "fitted": fitted, "cost": cost}
    parts |= {"asked": asked, "lapses": lapses}
    if config.data is not None:
        for split in range(config.splits):
            parts[f"polis {split}"] = lambda config, split=split: polis(config, split)
    if config.cache is not None:
        for split in range(config.splits):
            parts[f"cache {split}"] = lambda config, split=split: cached(config, split)
    results: dict[str, Any] = {}
    (config.out / "parts").mkdir(parents=True, exist_ok=True)
    for name, measure in parts.items():
        file = config.out / "parts" / f"{name}.json"
        if not file.is_file():
            write_file(file, [json.dumps(measure(config), indent=1).encode()])
        results[name] = json.loads(file.read_bytes())
        print(name, json.dumps(results[name], indent=1), flush=True)
    write_file(config.out / "results.json", [json.dumps(results, indent=1).encode()])
    return results


if __name__ == "__main__":
    command_line.main(run, Config)
