"""What a personal reward changes: the reply that each user gets among n.

    python -m experiments.best_of_n --out RUN [--data POLIS]

Policies, and not the accuracy of pairs. *Synthetic* users (gaussian, dim 64, true rank 5, margins
of root mean square 4 logits, 45 training pairs a seen user), 8 replies a prompt as in PersonalLLM.
Unseen users give some pairs and get the best of n replies to prompts that nobody was asked about;
above 8, replies to several such prompts are put together, to see whether picking among many is
fooled. What a user gains is the true reward of the pick above that of the true population's pick.
The personal pick goes by the mean of the weights (`lore.expected_weights`), *the mode* by that of
`lore.adapt`. Beside the learned model: *Bayes*, who knows basis and population and weighs the same
answers exactly (importance sampling), *Bayes' mode*, who knows as much and takes the mode, and the
*oracle*, who knows each user's weights. Whether caution could do more than the lower bound does,
among 8: the pick of *least squared regret*, over draws of the weights, of the learned model and of
who knows basis and population.

*Polis* (with --data): each unseen voter gets one of n statements that the fit has not seen and the
voter has voted on; a policy is worth how often the voter agrees with its pick.

Time: a seed takes some 7 minutes on two busy CPU cores, a split of a conversation 2 to 4. Each is
one file in RUN/parts: a run that was stopped goes on where it was. RUN/best_of_n.json has the
numbers.

Expected: best of 8 after 10 shots gains 96 % of what Bayes gains, by the mode 94, after 20 shots 97
and 96 %; Bayes' mode 99 and 100 %. Polis, by the mode, 20 shots: agreed with in 62.3 % among 4
statements, the population's pick in 60.4.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import population_model
from experiments.polis import data_folder, polis_protocol
from lore_jax.data.splits import split_users
from lore_jax.datasets.polis.pairs import polis_preferences
from lore_jax.datasets.polis.votes import Votes, load_polis_embeddings, read_polis
from lore_jax.datasets.synthetic import Synthetic, SyntheticConfig, synthetic
from lore_jax.evaluation.intervals import Sample, combine, estimate
from lore_jax.evaluation.results import make_results, plain
from lore_jax.evaluation.schema import Results
from lore_jax.reporting.tables import markdown
from lore_jax.runs.parts import Part, run_parts
from lore_jax.steering.best_of_n import Picks
from lore_jax.storage.files import write_file

FULL = SyntheticConfig(num_users=1430, pairs_per_user=(64, 64))
SMOKE = dataclasses.replace(FULL, num_users=60, num_prompts=60, pairs_per_user=(30, 30))
CAUTIONS = (0.25, 0.5, 1.0)
CONFIDENCE = 0.9
_SHOTS = (0, 3, 10, 20)
_COUNTS = (2, 4, 8, 32, 128)  # candidates of the synthetic users
_MOST_SETS = 60
_STATEMENTS = (2, 4, 8)
_SHOTS_OF_TABLE = 10
_REPLIES_OF_CAUTION = 8


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures what the personal pick among n replies is worth.

    Attributes:
        out: where to write.
        data: the folder of the Polis conversations; None: synthetic users alone.
        seeds: how many synthetic populations.
        splits: how many times statements and voters are split.
        smoke: one seed, one synthetic conversation and fits of a few steps, to see that everything
            runs.
    """

    out: Path
    data: Path | None = None
    seeds: int = 2
    splits: int = 3
    smoke: bool = False


def picks_of(
    model: lore.Model, posterior: lore.Posterior, table: np.ndarray, rows: np.ndarray, key: Any
) -> dict[str, np.ndarray]:
    """The position that each policy of a learned model picks, `[users]` each."""

    def picked(draws: int, *rule: Any, **more: float) -> Picks:
        config = lore.BestOfN(*rule, draws=draws, **more)
        return lore.best_of_n(model, posterior, table, rows, config, key=key)

    some, cautious = picked(64), picked(1, "lower bound", 1.0)
    picks = {"personal": some.pick, "population": some.population}
    for caution in CAUTIONS:  # what `BestOfN("lower bound", caution)` picks
        score = some.gain - caution * (some.gain - cautious.score)
        picks[f"lower bound, {caution}"] = np.argmax(score, axis=1)
    picks[f"{CONFIDENCE} sure, or population"] = picked(1, confidence=CONFIDENCE).pick
    picks["Thompson"] = picked(1, "Thompson").pick
    return {**picks, "expected regret": some.expected_regret}


def exact_weights(
    truth: Synthetic, shots: lore.Preferences, laplace: lore.Posterior, rng: np.random.Generator
) -> np.ndarray:
    """Posterior mean of users' weights given the truth, `[users, rank]`.

    Importance sampling around the mode, with twice the covariance.
    """
    rewards, prior = np.asarray(shots.embeddings) @ truth.basis, truth.model.prior
    features = rewards[shots.chosen] - rewards[shots.rejected]
    precision = np.linalg.inv(np.asarray(prior.covariance, np.float64))
    result = np.empty(laplace.weights.shape)
    for user, (mode, covariance) in enumerate(
        zip(np.asarray(laplace.weights), np.asarray(laplace.covariance), strict=True)
    ):
        root = np.linalg.cholesky(2.0 * covariance.astype(np.float64))
        noise = rng.standard_normal((4000, len(mode)))
        drawn = mode + noise @ root.T
        apart = drawn - np.asarray(prior.mean)
        log_prior = -0.5 * np.einsum("dk,kl,dl->d", apart, precision, apart)
        margins = drawn @ features[shots.user == user].T
        log_weight = log_prior - np.logaddexp(0.0, -margins).sum(axis=1) + 0.5 * (noise**2).sum(1)
        weight = np.exp(log_weight - log_weight.max())
        result[user] = weight @ drawn / weight.sum()
    return result


def synthetic_part(
    data: SyntheticConfig, fit: lore.FitConfig, *, seed: int, smoke: bool
) -> Results:
    """One population: what each policy gains, by shots, candidates and policy."""
    truth = synthetic(data, seed=seed)
    split = lore.four_way(truth.prefs, group_by="prompt", items=("new items",), seed=seed)
    model, *_ = lore.fit(split.train, fit, key=jax.random.key(seed))
    table = np.asarray(truth.prefs.embeddings)
    rewards = table @ truth.basis
    prompts = np.unique(split.tests["unseen", "new items"].prompt)
    replies = data.responses_per_prompt
    fresh = (prompts[:, None] * replies + np.arange(replies)).astype(np.int32)
    weights, rng = truth.weights[split.unseen_users], np.random.default_rng(seed)
    values = {"head": np.asarray(truth.prefs.head), "oracle": weights @ rewards.T}
    values["true population"] = rewards @ np.asarray(truth.model.prior.mean)
    values["head"] = table @ values["head"]
    measured: dict[str, Any] = {}
    for shots in (_SHOTS_OF_TABLE,) if smoke else _SHOTS:
        asked = lore.draw_shots(split.shots, shots, seed=seed)
        posterior = lore.expected_weights(model, asked)
        laplace = lore.adapt(truth.model, asked)
        values["the mode"] = lore.score(model, lore.adapt(model, asked), table)
        careful = {
            "least squared regret": (posterior, np.asarray(lore.rewards(model, table).table)),
            "Bayes, least squared regret": (lore.expected_weights(truth.model, asked), rewards),
        }
        drawn = {
            name: (lore.sample_weights(known, 128, key=seed), of)
            for name, (known, of) in careful.items()
        }
        values["Bayes"] = exact_weights(truth, asked, laplace, rng) @ rewards.T
        values["Bayes' mode"] = np.asarray(laplace.weights) @ rewards.T
        for count in (8,) if smoke else _COUNTS:
            sets = _candidate_sets(fresh, count, rng)[: 4 if smoke else None]
            cells: dict[str, list[np.ndarray]] = {}
            for number, rows in enumerate(sets):
                key = jax.random.fold_in(jax.random.key(seed), number)
                picks = picks_of(model, posterior, table, rows, key)
                expected = picks.pop("expected regret")
                users = np.arange(len(weights))
                if count == _REPLIES_OF_CAUTION:
                    for name, (draws, of) in drawn.items():
                        picks[name] = least_squared_regret(draws, of[rows])
                for name, value in values.items():
                    best = np.argmax(value[..., rows], axis=-1)
                    picks[name] = np.broadcast_to(best, users.shape)
                true = values["oracle"][:, rows]
                base = true[users, picks["true population"]]
                for name, pick in picks.items():
                    cells.setdefault(name, []).append(true[users, pick] - base)
                cells.setdefault("expected regret", []).append(expected)
            # [sets, users]
            measured[f"{shots} shots, {count}"] = summary(
                {name: np.stack(gain) for name, gain in cells.items()}
            )
    config = {"data": data, "fit": fit}
    return make_results([], [], name="best_of_n", config=config, seed=seed, measured=measured)


def least_squared_regret(draws: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """The position whose regret is least in the mean square, over `draws [users, draws, rank]`.

    `rewards [c, rank]` are those of the candidates.
    """
    values = np.einsum("udk,ck->udc", draws, rewards, optimize=True)
    regret = values.max(axis=2, keepdims=True) - values
    return np.argmin((regret**2).mean(axis=1), axis=1)


def _candidate_sets(fresh: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Replies to one prompt each, or, where more are asked for, to several put together."""
    if count <= fresh.shape[1]:
        return [rows[:count] for rows in fresh[:_MOST_SETS]]
    flat = fresh.reshape(-1)
    return [rng.choice(flat, min(count, len(flat)), replace=False) for _ in range(20)]


def summary(gain: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Of each policy, over sets of candidates and users; `gain [sets, users]` is in logits."""
    expected, oracle = gain.pop("expected regret"), gain["oracle"]
    result = {}
    for name, own in gain.items():
        regret = oracle - own
        per_user = np.sort(regret.mean(axis=0))
        cases = np.sort(regret.ravel())
        other, head = gain["population"], gain["head"]
        result[name] = {
            "gain": float(own.mean()),
            "regret": float(regret.mean()),
            "worst decile of users": float(per_user[-max(1, len(per_user) // 10) :].mean()),
            "worst decile of picks": float(cases[-max(1, len(cases) // 10) :].mean()),
            "wins over the population": float((0.5 * (1 + np.sign(own - other))).mean()),
            "wins over the head": float((0.5 * (1 + np.sign(own - head))).mean()),
        }
    result["personal"]["expected regret"] = float(expected.mean())
    return result


def polis_part(folder: Path, *, split: int, smoke: bool) -> Results:
    """One split of one conversation: how often unseen voters agree with what each policy picks."""
    votes, protocol = read_polis(folder), polis_protocol("new items", smoke=smoke)
    table = load_polis_embeddings(folder.parent).of(votes).astype(np.float32)
    drawn = polis_preferences(
        votes, table, test="new items", split_seed=split, fold=None, **protocol.limits
    )
    seen, unseen = split_users(drawn.train.num_users, 0.3, seed=split)
    fit = protocol.fits["gaussian"]
    model, *_ = lore.fit(drawn.train.take_users(seen), fit, key=jax.random.key(split))
    test = drawn.test.take_users(unseen)
    asked = lore.draw_shots(drawn.train.take_users(unseen), 20, seed=split)
    posterior, modes = lore.expected_weights(model, asked), lore.adapt(model, asked)
    fresh = np.unique(np.concatenate([drawn.test.chosen, drawn.test.rejected]))
    ballots = _ballots_on(votes, np.asarray(test.user_ids), fresh)
    rng, measured = np.random.default_rng(split), {}
    for count in _STATEMENTS[:1] if smoke else _STATEMENTS:
        users = np.array([u for u, (rows, _) in enumerate(ballots) if len(rows) >= count], int)
        if not len(users):
            continue
        agreed: dict[str, np.ndarray] = {}
        for number in range(4 if smoke else 40):
            order = [rng.permutation(len(ballots[u][0]))[:count] for u in users]
            rows = np.stack([ballots[u][0][own] for u, own in zip(users, order, strict=True)])
            agree = np.stack([ballots[u][1][own] for u, own in zip(users, order, strict=True)])
            key = jax.random.fold_in(jax.random.key(split), number)
            picks = picks_of(model, posterior.take(users), table, rows, key)
            del picks["expected regret"]
            scores = lore.score(model, modes.take(users), table, rows)
            picks["the mode"] = np.argmax(scores, axis=1)
            for name, pick in picks.items():
                new = agree[np.arange(len(users)), pick].astype(float)
                agreed[name] = agreed.get(name, 0.0) + new
            agreed["any"] = agreed.get("any", 0.0) + agree.mean(axis=1)
        draws = 4 if smoke else 40
        names = np.asarray(test.user_ids)[users]
        measured[str(count)] = {"voters": names, **{k: v / draws for k, v in agreed.items()}}
    settings = {"fit": fit, "conversation": folder.name}
    return make_results([], [], name="best_of_n", config=settings, seed=split, measured=measured)


def _ballots_on(
    votes: Votes, user_ids: np.ndarray, fresh: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The unseen statements that each voter has voted on, and whether the voter agreed."""
    number = {f"{votes.conversation}/{name}": row for row, name in enumerate(votes.voter_ids)}
    ballots = []
    for name in user_ids:
        own = (votes.voter == number[str(name)]) & np.isin(votes.statement, fresh)
        ballots.append((votes.statement[own], votes.vote[own] == 1))
    return ballots


def run(config: Config) -> dict[str, Any]:
    """Makes the parts that are missing, prints the tables and writes `best_of_n.json`."""
    data = SMOKE if config.smoke else FULL
    fit = population_model(smoke=config.smoke)

    seeds = [
        Part(
            f"synthetic-{seed}",
            {"config": {"data": data, "fit": fit}, "seed": seed},
            lambda seed=seed: synthetic_part(data, fit, seed=seed, smoke=config.smoke),
        )
        for seed in range(1 if config.smoke else config.seeds)
    ]
    populations = run_parts(config.out / "parts", seeds, description="seeds")
    result: dict[str, Any] = {"synthetic": _mean([seed["measured"] for seed in populations])}
    if config.smoke or config.data is not None:
        root = data_folder(config.data, config.out, smoke=config.smoke)
        folders = sorted(path.parent for path in root.glob("*/comments.csv"))
        folders = folders[:1] if config.smoke else folders
        splits = range(1 if config.smoke else config.splits)
        of_polis = polis_protocol("new items", smoke=config.smoke).fits["gaussian"]
        parts = [
            Part(
                f"{folder.name}-{split}",
                {"config": {"fit": of_polis, "conversation": folder.name}, "seed": split},
                lambda folder=folder, split=split: polis_part(
                    folder, split=split, smoke=config.smoke
                ),
            )
            for folder in folders
            for split in splits
        ]
        made = run_parts(config.out / "parts", parts, description="conversations x splits")
        grouped = [made[at : at + len(splits)] for at in range(0, len(made), len(splits))]
        result["polis"] = {str(count): agreement(grouped, count) for count in _STATEMENTS}
    text = report(result)
    print(text)
    write_file(config.out / "best_of_n.json", [json.dumps(plain(result), indent=1).encode()])
    write_file(config.out / "tables.md", [text.encode(), b"\n"])
    return result


def _mean(trees: list[Any]) -> Any:
    """The mean over seeds of every number."""
    if isinstance(trees[0], dict):
        return {name: _mean([tree[name] for tree in trees]) for name in trees[0]}
    return float(np.mean(trees))


def agreement(conversations: list[list[Results]], count: int) -> dict[str, Any]:
    """How often voters agree with each policy's pick among `count`, and with the personal one more.

    Intervals are for new voters, conversations counting equally.
    """
    shares: dict[str, list[Any]] = {}
    for splits in conversations:
        found = [part["measured"][str(count)] for part in splits if str(count) in part["measured"]]
        if not found:
            continue
        voters = [np.asarray(part["voters"]) for part in found]
        columns = {name: [np.array(part[name]) for part in found] for name in found[0]}
        del columns["voters"]
        for name in list(columns):
            pairs = zip(columns[name], columns["population"], strict=True)
            columns[f"{name} minus population"] = [own - other for own, other in pairs]
        for name, values in columns.items():
            samples = list(map(Sample, voters, values))
            shares.setdefault(name, []).append(estimate(samples))
    return {name: combine(parts).interval()._asdict() for name, parts in shares.items()}


def report(result: dict[str, Any]) -> str:
    """The numbers in Markdown."""
    cells = result["synthetic"]
    lines = [["shots", "n", "of Bayes' gain, %", "its mode's, %", "of the oracle's, %"]]
    lines[0] += ["gain, logits", "regret", "regret expected"]
    lines[0] += ["wins over the population, %", "over the head, %"]
    for name, policies in cells.items():
        shots, count = name.split(" shots, ")
        own, mode, bayes, oracle = (
            policies[policy] for policy in ("personal", "Bayes' mode", "Bayes", "oracle")
        )
        of = ((own, bayes), (mode, bayes), (own, oracle))
        shares = [100 * who["gain"] / max(whole["gain"], 1e-9) for who, whole in of]
        line = [shots, count, *(f"{share:.1f}" if shots != "0" else "" for share in shares)]
        line += [f"{own[what]:.2f}" for what in ("gain", "regret", "expected regret")]
        wins = [own[f"wins over the {other}"] for other in ("population", "head")]
        lines.append([*line, *(f"{100 * share:.1f}" for share in wins)])
    texts = ["Synthetic users, the personal pick:", markdown(lines)]
    policies = cells[f"{_SHOTS_OF_TABLE} shots, 8"]
    lines = [["policy", "gain", "regret", "worst decile of users", "of picks"]]
    for name, own in policies.items():
        numbers = [own[what] for what in ("gain", "regret", "worst decile of users")]
        numbers.append(own["worst decile of picks"])
        lines.append([name, *(f"{number:.3f}" for number in numbers)])
    texts += [f"Best of 8 after {_SHOTS_OF_TABLE} shots, logits:", markdown(lines)]
    if "polis" in result:
        lines = [["n", "policy", "agreed with, %", "minus the population's pick"]]
        for count, shares in result["polis"].items():
            for name in [name for name in shares if " minus " not in name]:
                gain = shares[f"{name} minus population"]
                mean, low, high = (100 * gain[end] for end in ("mean", "low", "high"))
                share = f"{100 * shares[name]['mean']:.1f}"
                lines.append([count, name, share, f"{mean:+.1f} ({low:.1f} to {high:.1f})"])
        texts += ["Polis, statements new to everybody, 20 shots:", markdown(lines)]
    return "\n\n".join(texts)


if __name__ == "__main__":
    command_line.main(run, Config)
