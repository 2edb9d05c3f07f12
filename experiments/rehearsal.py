"""The three experiments on published data at full size, rehearsed on synthetic embeddings.

    python -m experiments.rehearsal --out RUN [--size 0.1] [--only personalllm] [--validated]

Tables of the real shapes, dim 4096 in bf16: PersonalLLM 10,402 prompts x 8 replies with 10 reward
columns, PRISM 1,300 people and 27,000 pairs, Reddit TLDR 40 workers x 4,000 pairs; one split each,
in paper mode or, with --validated, in the default one, whose validation on folds is dozens of fits
more and meant for an accelerator. Embeddings are random with a power-law spectrum, and users are
simulated on them, so that the ground truth is known: its basis, adapted to users as the fitted ones
are, stands in every table as "true basis". --size scales users and prompts.

PersonalLLM. The ten columns share a common part, and the reference head is correlated with their
mean. Both numbers are set by simulation from the paper's BT (86.35 %) and reference head (77.25 %,
seen and unseen users' mean) at alpha .001, before anything is fitted; the other alphas, and LoRe
everywhere, then are what they are.

Each experiment runs in a process of its own, whose peak memory is measured. Time, memory and
results are in experiments/README.md.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from benchmarks.peak_memory import peak_memory
from experiments import personalllm, prism, reddit_tldr
from experiments.common import command_line
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.datasets.personalllm import REPLIES, PersonalLLM
from lore_jax.datasets.synthetic import Synthetic, SyntheticConfig, synthetic
from lore_jax.evaluation.conclusion import average
from lore_jax.evaluation.results import Where, methods_of, read_results, select
from lore_jax.evaluation.schema import Results
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import SimplexPrior
from lore_jax.reporting.tables import markdown
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.cache.writer import CacheWriter

NAMES = ("personalllm", "prism", "reddit_tldr")
# The paper's accuracies: PersonalLLM, alpha .001, mean of seen and unseen users.
BT, REFERENCE = 0.8635, 0.7725
MODELS = 10
ENCODER = {"model": "synthetic"}
TRUE_BASIS = "true basis"
_ROWS = 4096  # of a table, moved at a time


@dataclasses.dataclass(frozen=True)
class Config:
    """Runs the three experiments on synthetic tables of the real size.

    Attributes:
        out: where to write.
        only: one experiment alone.
        size: share of the real numbers of users and prompts.
        dim: width of the embeddings.
        alphas: PersonalLLM's concentrations.
        validated: the experiments' default instead of paper mode.
        seed: seed of everything.
        smoke: one experiment on a hundredth of the data.
    """

    out: Path
    only: Literal["personalllm", "prism", "reddit_tldr"] | None = None
    size: float = 1.0
    dim: int = 4096
    alphas: tuple[float, ...] = (0.001, 0.01, 0.1)
    validated: bool = False
    seed: int = 0
    smoke: bool = False

    def scaled(self, count: int, least: int) -> int:
        """A count at the size asked for."""
        return max(least, round(count * self.size))


def calibrate(*, prompts: int = 20_000, seed: int = 0) -> tuple[float, float]:
    """The columns' common share, and the correlation of the head with their mean.

    They are those that give the accuracies of BT and of the head in the paper.
    At alpha .001 a user follows one column. Column k is `sqrt(a) c + sqrt(1 - a) s_k` with c and
    the s_k independent and normal over replies; Bradley-Terry, at best, is the columns' mean, the
    head `rho` times it plus a direction of its own.
    """
    common, own, other = np.random.default_rng(seed).normal(size=(3, prompts, REPLIES, MODELS))
    prompt = np.arange(prompts)

    def accuracy(share: float, rho: float) -> float:
        columns = np.sqrt(share) * common[..., :1] + np.sqrt(1.0 - share) * own
        mean = columns.mean(axis=2) / np.sqrt(share + (1.0 - share) / MODELS)
        head = rho * mean + np.sqrt(1.0 - rho**2) * other[..., 0]
        best, worst = columns[..., 0].argmax(axis=1), columns[..., 0].argmin(axis=1)
        return float((head[prompt, best] > head[prompt, worst]).mean())

    def solve(increasing: Callable[[float], float], target: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if increasing(middle) < target else (low, middle)
        return (low + high) / 2

    share = solve(lambda value: accuracy(value, 1.0), BT)
    return share, solve(lambda value: accuracy(share, value), REFERENCE)


def simulate(
    config: Config,
    *,
    num_users: int,
    num_prompts: int,
    responses_per_prompt: int,
    pairs_per_user: tuple[int, int],
    rank: int,
    noise: float,
) -> Synthetic:
    """Synthetic preferences over a table as a reward model leaves it; see `SyntheticConfig`."""
    data = SyntheticConfig(
        num_users=num_users,
        num_prompts=num_prompts,
        responses_per_prompt=responses_per_prompt,
        pairs_per_user=pairs_per_user,
        dim=config.dim,
        rank=rank,
        noise=noise,
        row_norm=np.sqrt(config.dim),
        dtype="bfloat16",
    )
    return synthetic(data, seed=config.seed)


def stored(path: Path, truth: Synthetic, prefs: Preferences) -> Preferences:
    """The table through a cache on disk, a few rows at a time, as an embedding run leaves it."""
    with CacheWriter(
        path, dim=prefs.dim, dtype="bfloat16", encoder=dict(ENCODER), overwrite=True
    ) as writer:
        for start in range(0, prefs.num_responses, _ROWS):
            writer.append(truth.prefs.embeddings[start : start + _ROWS])
        writer.finish(
            chosen=prefs.chosen, rejected=prefs.rejected, user=prefs.user, prompt=prefs.prompt,
            num_users=prefs.num_users, head=prefs.head,
        )  # fmt: skip
    return load_cache(path, verify="quick")


def rewards_of(
    prefs: Preferences, basis: Float[np.ndarray, "dim columns"]
) -> Float[np.ndarray, "responses columns"]:
    """`prefs.embeddings @ basis`, a few rows at a time, in float32."""
    table, starts = prefs.embeddings, range(0, prefs.num_responses, _ROWS)
    return np.concatenate([np.asarray(table[i : i + _ROWS], np.float32) @ basis for i in starts])


def run_personalllm(config: Config) -> Results:
    """Ten columns with a common part, simplex users."""
    paper = not config.validated
    share, rho = calibrate(seed=config.seed)
    print(
        f"calibrated before any fit: common share of the columns {share:.3f}, "
        f"correlation of the head {rho:.3f}"
    )
    train, test = config.scaled(9402, 100), config.scaled(1000, 50)
    truth = simulate(
        config,
        num_users=1,
        num_prompts=train + test,
        responses_per_prompt=REPLIES,
        pairs_per_user=(1, 1),
        rank=MODELS + 2,
        noise=0.0,
    )
    basis = truth.basis / np.sqrt(2.0 * np.square(truth.basis).sum(0).mean()) * np.sqrt(config.dim)
    columns = np.sqrt(share) * basis[:, :1] + np.sqrt(1.0 - share) * basis[:, 1 : MODELS + 1]
    mean = columns.mean(axis=1) / np.sqrt(share + (1.0 - share) / MODELS)
    head = (rho * mean + np.sqrt(1.0 - rho**2) * basis[:, -1]).astype(np.float32)
    scores = rewards_of(truth.prefs, columns)
    # Best against worst is never mistaken: margins of some logits on it are what the users'
    # choices say.
    scale = 0.25 * float(scores[:_ROWS].std())
    scores /= scores.std()
    row = np.arange((train + test) * REPLIES, dtype=np.int32).reshape(-1, REPLIES)
    data = PersonalLLM(
        row,
        scores.reshape(-1, REPLIES, MODELS),
        np.arange(train + test) >= train,
        [],
        {"synthetic prompts": train + test},
    )
    prefs = stored(config.out / "cache", truth, dataclasses.replace(truth.prefs, head=head))
    mean_user = SimplexPrior(jnp.full(MODELS, 1.0 / MODELS))
    oracle = Model(
        LinearBasis(MODELS),
        {"V": jnp.asarray(columns, jnp.float32)},
        jnp.float32(scale),
        mean_user,
    )
    options = personalllm.Config(
        out=config.out,
        paper=paper,
        splits=1,
        seed=config.seed,
        alphas=config.alphas,
        users=config.scaled(1000, 50),
    )
    about = {"encoder": ENCODER, "counts": data.counts}
    return personalllm.run_on(data, prefs, options, about, {TRUE_BASIS: oracle})


def run_prism(config: Config) -> Results:
    """Six dialogues a person, four replies each, and in every second one a turn of two more."""
    people, dialogues = config.scaled(1300, 60), 6
    truth = simulate(
        config,
        num_users=people,
        num_prompts=people * dialogues,
        responses_per_prompt=6,
        pairs_per_user=(0, 0),
        rank=4,
        noise=0.25,
    )
    rng = np.random.default_rng(config.seed)
    reward = rewards_of(truth.prefs, truth.basis).reshape(people, dialogues, 6, -1)
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
    options = prism.Config(out=config.out, paper=not config.validated, splits=1, seed=config.seed)
    about = {
        "encoder": ENCODER,
        "counts": {"synthetic dialogues": people * dialogues, "pairs": pairs.num_pairs},
    }
    prefs = stored(config.out / "cache", truth, pairs)
    return prism.run_on(prefs, None, options, about, known={TRUE_BASIS: truth.model})


def run_reddit_tldr(config: Config) -> Results:
    """40 workers who judge the same posts; half of the posts are the validation."""
    each = config.scaled(4000, 300)
    truth = simulate(
        config,
        num_users=40,
        num_prompts=config.scaled(15_000, 200),
        responses_per_prompt=6,
        pairs_per_user=(each, each),
        rank=4,
        noise=0.5,
    )
    prefs = stored(config.out / "cache", truth, truth.prefs)
    options = reddit_tldr.Config(
        out=config.out,
        paper=not config.validated,
        splits=1,
        seed=config.seed,
        train_pairs=(150,),
        shots=(0, 10, 25, 50),
    )
    about = {"encoder": ENCODER, "counts": {"pairs": prefs.num_pairs}}
    is_test = prefs.prompt % 2 == 1
    return reddit_tldr.run_on(prefs, is_test, None, options, about, {TRUE_BASIS: truth.model})


RUN = {"personalllm": run_personalllm, "prism": run_prism, "reddit_tldr": run_reddit_tldr}


def rehearse(config: Config) -> None:
    """Runs one experiment in this process and measures it."""
    assert config.only is not None
    config.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    RUN[config.only](config)
    disk = sum(file.stat().st_size for file in config.out.rglob("*") if file.is_file())
    cost = {
        "minutes": (time.perf_counter() - start) / 60,
        "peak GiB": peak_memory() / 2**30,
        "disk GiB": disk / 2**30,
    }
    (config.out / "cost.json").write_text(json.dumps(cost))


def accuracies(results: Results) -> str:
    """The accuracy of every method for unseen users after the most shots, task by task."""
    last = max(row["shots"] or 0 for row in select(results, Where("unseen")))
    texts = []
    for task in dict.fromkeys(row["data"] for row in results["rows"]):
        where = Where("unseen", control=None, shots=last, data=task)
        numbers = (
            f"{method} {100 * average(results, where.also(Where(method=method))).mean:.1f}"
            for method in methods_of(results)
        )
        texts.append(f"{task}: {', '.join(numbers)}")
    return "; ".join(texts)


def main(config: Config) -> None:
    """Every experiment in a process of its own, then one table."""
    names = NAMES
    if config.smoke:
        config = dataclasses.replace(config, size=0.01, dim=16, alphas=(0.01,), smoke=False)
        names = ("prism",)
    if config.only is not None:
        rehearse(dataclasses.replace(config, out=config.out / config.only))
        return
    options = {"--out": config.out, "--size": config.size, "--dim": config.dim}
    options |= {"--seed": config.seed}
    command = [sys.executable, "-m", "experiments.rehearsal"]
    command += [str(word) for option in options.items() for word in option]
    command += ["--alphas", *map(str, config.alphas), *["--validated"] * config.validated]
    lines = [["", "minutes", "peak memory, GiB", "disk, GiB", "unseen users: accuracy, %"]]
    for name in names:
        subprocess.run([*command, "--only", name], check=True)
        cost = json.loads((config.out / name / "cost.json").read_text())
        costs = [f"{cost[key]:.1f}" for key in ("minutes", "peak GiB", "disk GiB")]
        results = read_results(config.out / name / "results.json")
        lines.append([name, *costs, accuracies(results)])
    text = markdown(lines)
    (config.out / "rehearsal.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    command_line.main(main, Config)
