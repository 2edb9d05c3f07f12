"""The three experiments at full size on made-up embeddings: the day the data are there, it just
runs.

    python -m experiments.rehearsal --out RUN [--size 0.1] [--only personalllm] [--honest]

Tables of the real shapes, dim 4096 in bf16: PersonalLLM 10,402 prompts x 8 replies with 10 reward
columns, PRISM 1,300 people and 27,000 pairs, Reddit TLDR 40 workers x 4,000 pairs; one split each,
in paper mode or, with --honest, in the default one, whose validation on folds is dozens of fits
more and meant for an accelerator. Embeddings are random with a power-law spectrum, users planted on
them, so that the truth is known: its basis, adapted to users as the fitted ones are, stands in
every table as "planted basis". --size scales users and prompts.

PersonalLLM. The ten columns share a common part, and the reference head is correlated with their
mean. Both numbers are set by simulation from the paper's BT (86.35 %) and reference head (77.25 %,
seen and unseen users' mean) at alpha .001, before anything is fitted; the other alphas, and LoRe
everywhere, then are what they are.

Each part runs in a process of its own, whose peak memory is measured. What it took and found is in
experiments/README.md.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.peak_memory import peak_memory
from experiments import personalllm, prism, reddit_tldr
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.datasets.personalllm import REPLIES, PersonalLLM
from lore_jax.datasets.synthetic import Synthetic, SyntheticConfig, synthetic
from lore_jax.evaluation.conclusion import average
from lore_jax.evaluation.results import Results, read_results
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import Population
from lore_jax.reporting.tables import markdown
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.cache.writer import CacheWriter

NAMES = ("personalllm", "prism", "reddit_tldr")
BT, REFERENCE = (
    0.8635,
    0.7725,
)  # the paper's, PersonalLLM, alpha .001, mean of seen and unseen users
MODELS = 10
_ROWS = 4096  # of a table, moved at a time


@dataclasses.dataclass(frozen=True)
class Config:
    """Runs the three experiments on made-up tables of the real size.

    Attributes:
        out: where to write.
        only: one part alone.
        size: share of the real numbers of users and prompts.
        dim: width of the embeddings.
        alphas: PersonalLLM's concentrations.
        honest: the experiments' default instead of paper mode.
        seed: seed of everything.
    """

    out: Path
    only: Literal["personalllm", "prism", "reddit_tldr"] | None = None
    size: float = 1.0
    dim: int = 4096
    alphas: tuple[float, ...] = (0.001, 0.01, 0.1)
    honest: bool = False
    seed: int = 0

    def scaled(self, count: int, least: int) -> int:
        """A count at the size asked for."""
        return max(least, round(count * self.size))


def calibrate(*, prompts: int = 20_000, seed: int = 0) -> tuple[float, float]:
    """The columns' common share and the head's correlation with their mean that give BT's and the
    head's accuracy.

    At alpha .001 a user follows one column. Column k is `sqrt(a) c + sqrt(1 - a) s_k` with c and
    the s_k independent and normal over replies; Bradley-Terry, at best, is the columns' mean, the
    head `rho` times it plus a direction of its own.
    """
    common, own, other = np.random.default_rng(seed).normal(size=(3, prompts, REPLIES, MODELS))
    every = np.arange(prompts)

    def accuracy(share: float, rho: float) -> float:
        columns = np.sqrt(share) * common[..., :1] + np.sqrt(1.0 - share) * own
        mean = columns.mean(axis=2) / np.sqrt(share + (1.0 - share) / MODELS)
        head = rho * mean + np.sqrt(1.0 - rho**2) * other[..., 0]
        best, worst = columns[..., 0].argmax(axis=1), columns[..., 0].argmin(axis=1)
        return float((head[every, best] > head[every, worst]).mean())

    def solve(of: Any, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if of(middle) < wanted else (low, middle)
        return (low + high) / 2

    share = solve(lambda value: accuracy(value, 1.0), BT)
    return share, solve(lambda value: accuracy(share, value), REFERENCE)


def stored(path: Path, truth: Synthetic, prefs: Preferences) -> Preferences:
    """The table through a cache on disk, block by block, as an embedding run leaves it."""
    with CacheWriter(
        path, dim=prefs.dim, dtype="bfloat16", encoder={"model": "made up"}, overwrite=True
    ) as writer:
        for start in range(0, prefs.num_responses, _ROWS):
            writer.append(truth.prefs.embeddings[start : start + _ROWS])
        writer.finish(
            chosen=prefs.chosen, rejected=prefs.rejected, user=prefs.user, prompt=prefs.prompt,
            num_users=prefs.num_users, head=prefs.head,
        )  # fmt: skip
    return load_cache(path, verify="quick")


def rewards_of(table: Any, basis: np.ndarray) -> np.ndarray:
    """`table @ basis` in blocks, float32 `[responses, columns]`."""
    starts = range(0, len(table), _ROWS)
    return np.concatenate([np.asarray(table[i : i + _ROWS], np.float32) @ basis for i in starts])


def run_personalllm(config: Config) -> Results:
    """Ten columns with a common part, simplex users."""
    paper = not config.honest
    share, rho = calibrate(seed=config.seed)
    print(
        f"calibrated before any fit: common share of the columns {share:.3f}, correlation of the head {rho:.3f}"
    )
    train, test = config.scaled(9402, 100), config.scaled(1000, 50)
    planted = SyntheticConfig(
        num_users=1, num_prompts=train + test, responses_per_prompt=REPLIES, pairs_per_user=(1, 1), dim=config.dim,
        rank=MODELS + 2, noise=0.0, row_norm=np.sqrt(config.dim), dtype="bfloat16",
    )  # fmt: skip
    truth = synthetic(planted, seed=config.seed)
    basis = truth.basis / np.sqrt(2.0 * np.square(truth.basis).sum(0).mean()) * np.sqrt(config.dim)
    columns = np.sqrt(share) * basis[:, :1] + np.sqrt(1.0 - share) * basis[:, 1 : MODELS + 1]
    mean = columns.mean(axis=1) / np.sqrt(share + (1.0 - share) / MODELS)
    head = (rho * mean + np.sqrt(1.0 - rho**2) * basis[:, -1]).astype(np.float32)
    scores = rewards_of(truth.prefs.embeddings, columns)
    scores /= scores.std()
    row = np.arange((train + test) * REPLIES, dtype=np.int32).reshape(-1, REPLIES)
    data = PersonalLLM(
        row,
        scores.reshape(-1, REPLIES, MODELS),
        np.arange(train + test) >= train,
        [],
        {"made-up prompts": train + test},
    )
    prefs = stored(config.out / "cache", truth, dataclasses.replace(truth.prefs, head=head))
    # Best against worst is never mistaken: margins of some logits on it are what the planted users'
    # choices say.
    scale = 0.25 * float(rewards_of(truth.prefs.embeddings[:_ROWS], columns).std())
    mean_user = Population(jnp.full(MODELS, 1.0 / MODELS), jnp.zeros((MODELS, 0)))
    oracle = Model(
        LinearBasis(MODELS),
        {"V": jnp.asarray(columns, jnp.float32)},
        jnp.float32(scale),
        mean_user,
        "simplex",
    )
    options = personalllm.Config(
        out=config.out,
        paper=paper,
        splits=1,
        seed=config.seed,
        alphas=config.alphas,
        users=config.scaled(1000, 50),
    )
    about = {"encoder": {"model": "made up"}, "counts": data.counts}
    return personalllm.run_on(data, prefs, options, about, {"planted basis": oracle})


def run_prism(config: Config) -> Results:
    """Six dialogues a person: four replies to choose from, and in every second dialogue a turn of
    two more.
    """
    people, dialogues = config.scaled(1300, 60), 6
    planted = SyntheticConfig(
        num_users=people, num_prompts=people * dialogues, responses_per_prompt=6, pairs_per_user=(0, 0), dim=config.dim,
        rank=4, noise=0.25, row_norm=np.sqrt(config.dim), dtype="bfloat16",
    )  # fmt: skip
    truth = synthetic(planted, seed=config.seed)
    rng = np.random.default_rng(config.seed)
    reward = rewards_of(truth.prefs.embeddings, truth.basis).reshape(people, dialogues, 6, -1)
    utility = np.einsum("udrk,uk->udr", reward, truth.weights) + rng.gumbel(size=reward.shape[:3])
    columns = []
    for first, last, step in ((0, 4, 1), (4, 6, 2)):
        best = utility[:, ::step, first:last].argmax(axis=2) + first
        user, dialogue, reply = np.indices((*best.shape, last - first))
        reply = reply + first
        number = user * dialogues + dialogue * step
        lost = reply != best[..., None]
        chosen = number * 6 + best[..., None]
        columns.append([part[lost] for part in (chosen, number * 6 + reply, user, number)])
    chosen, rejected, user, number = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    bare = np.zeros((truth.prefs.num_responses, 1), np.float16)
    pairs = from_arrays(bare, chosen, rejected, user, prompt=number, num_users=people)
    pairs = dataclasses.replace(pairs, embeddings=truth.prefs.embeddings, head=truth.prefs.head)
    options = prism.Config(out=config.out, paper=not config.honest, splits=1, seed=config.seed)
    about = {
        "encoder": {"model": "made up"},
        "counts": {"made-up dialogues": people * dialogues, "pairs": pairs.num_pairs},
    }
    prefs = stored(config.out / "cache", truth, pairs)
    return prism.run_on(prefs, None, options, about, known={"planted basis": truth.model})


def run_reddit_tldr(config: Config) -> Results:
    """40 workers who judge the same posts; half of the posts are the validation."""
    each = config.scaled(4000, 300)
    planted = SyntheticConfig(
        num_users=40, num_prompts=config.scaled(15_000, 200), responses_per_prompt=6,
        pairs_per_user=(each, each), dim=config.dim, rank=4, noise=0.5,
        row_norm=np.sqrt(config.dim), dtype="bfloat16",
    )  # fmt: skip
    truth = synthetic(planted, seed=config.seed)
    prefs = stored(config.out / "cache", truth, truth.prefs)
    options = reddit_tldr.Config(
        out=config.out,
        paper=not config.honest,
        splits=1,
        seed=config.seed,
        train_pairs=(150,),
        shots=(0, 10, 25, 50),
    )
    about = {"encoder": {"model": "made up"}, "counts": {"pairs": prefs.num_pairs}}
    is_test = prefs.prompt % 2 == 1
    return reddit_tldr.run_on(prefs, is_test, None, options, about, {"planted basis": truth.model})


RUN = {"personalllm": run_personalllm, "prism": run_prism, "reddit_tldr": run_reddit_tldr}


def part(config: Config) -> None:
    """One part, timed."""
    assert config.only is not None
    config.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    RUN[config.only](config)
    found = {
        "minutes": (time.perf_counter() - start) / 60,
        "peak GiB": peak_memory() / 2**30,
        "disk GiB": sum(file.stat().st_size for file in config.out.rglob("*") if file.is_file())
        / 2**30,
    }
    (config.out / "cost.json").write_text(json.dumps(found))


def main(config: Config) -> None:
    """Every part in a process of its own, then one table."""
    if config.only is not None:
        part(dataclasses.replace(config, out=config.out / config.only))
        return
    lines = [["", "minutes", "peak memory, GiB", "disk, GiB", "unseen users: accuracy, %"]]
    for name in NAMES:
        told = [
            "--out",
            config.out,
            "--only",
            name,
            "--size",
            config.size,
            "--dim",
            config.dim,
            "--seed",
            config.seed,
        ]
        told += ["--alphas", *config.alphas, *(["--honest"] if config.honest else [])]
        subprocess.run([sys.executable, "-m", "experiments.rehearsal", *map(str, told)], check=True)
        cost, results = (
            json.loads((config.out / name / "cost.json").read_text()),
            read_results(config.out / name / "results.json"),
        )
        last = max(row["shots"] for row in results["rows"] if row["users"] == "unseen")
        found = [
            f"{task}: "
            + ", ".join(
                f"{method} {100 * average(results, {**where, 'method': method}).mean:.1f}"
                for method in methods
            )
            for task in dict.fromkeys(row["data"] for row in results["rows"])
            for where in [{"data": task, "users": "unseen", "shots": last, "control": None}]
            for methods in [list(dict.fromkeys(row["method"] for row in results["rows"]))]
        ]
        lines.append(
            [
                name,
                *(f"{cost[key]:.1f}" for key in ("minutes", "peak GiB", "disk GiB")),
                "; ".join(found),
            ]
        )
    text = markdown(lines)
    (config.out / "rehearsal.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Config, description=Config.__doc__))
