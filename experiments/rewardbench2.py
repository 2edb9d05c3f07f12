"""RewardBench 2: did fitting people damage the general reward?

    lore-jax fit CACHE --out FITTED
    python -m experiments.rewardbench2 --fitted FITTED --data DIR --model REWARD_MODEL --out RUN

FITTED is a run of `lore-jax fit`, or a saved model; CACHE may be the one that an experiment on
published data left in its OUT/cache. DIR holds `allenai/reward-bench-2` (1,865 prompts, six
subsets); that name instead of DIR fetches it. REWARD_MODEL must be the one that embedded CACHE.
Scored are the reference head, each column of the basis, and the population (what the model says of
somebody it knows nothing about); a prompt is won if every correct reply is above every incorrect
one. For Ties the published score also looks at margins, this one does not.

Minutes on an accelerator, most of them for embedding 8,000 replies once. Ours: not run here, the
data are not available.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.common import command_line
from experiments.common.options import Options, data_of, embedded
from experiments.common.smoke_data import write_reward_bench
from lore_jax.cli.models import load_model, refuse_other_encoder
from lore_jax.datasets.reward_bench import HOME, RewardBench, read_reward_bench
from lore_jax.evaluation.results import plain
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, apply_basis
from lore_jax.model.prior import GaussianPrior
from lore_jax.model.saved import save
from lore_jax.reporting.tables import markdown
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.files import write_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Scores the reference head, each column of a basis, and the population on RewardBench 2.

    Attributes:
        out: where to write.
        fitted: a run, or a saved model (with --smoke: none is a random one).
        data: the folder of the benchmark, or its name on the hub (not with --smoke).
        model: the folder of the reward model that embedded what was fitted; not needed where the
            cache is there already.
        cache: the benchmark's embeddings; None: OUT/cache.
        smoke: synthetic prompts and the tiny random reward model.
    """

    out: Path
    fitted: Path | None = None
    data: str | None = None
    model: Path | None = None
    cache: Path | None = None
    smoke: bool = False


def fitted_of(config: Config, head: np.ndarray | None) -> Path:
    """What was fitted: as given, or for --smoke the head and a random column beside it.

    Raises:
        FileNotFoundError: it is not given.
    """
    if config.fitted is not None:
        return config.fitted
    if not config.smoke or head is None:
        raise FileNotFoundError("--fitted is missing: a run or a saved model is expected")
    random = np.random.default_rng(0).normal(size=len(head))
    params = {"V": jnp.asarray(np.stack([head, random], axis=1), jnp.float32)}
    prior = GaussianPrior(jnp.eye(2)[0], jnp.zeros((2, 0)))
    model = Model(LinearBasis(2), params, jnp.ones(()), prior)
    path = config.out / "fitted"
    encoder = read_manifest(config.cache or config.out / "cache")["encoder"]
    save(path, model, encoder=encoder, overwrite=True)
    return path


def scores(
    model: Model, embeddings: np.ndarray, head: np.ndarray | None
) -> dict[str, Float[np.ndarray, " responses"]]:
    """The score that each method gives to each reply."""
    # Without item effects: these replies were in no fit.
    rewards = np.asarray(apply_basis(model, embeddings))
    result = {} if head is None else {"reference head": np.asarray(embeddings, np.float32) @ head}
    result["population"] = rewards @ np.asarray(model.prior.mean)
    # In the population model column 0 is the population's direction; people deviate along the rest.
    return result | {f"column {column}": rewards[:, column] for column in range(rewards.shape[1])}


def report(
    bench: RewardBench, scores: dict[str, np.ndarray]
) -> tuple[str, dict[str, dict[str, float]]]:
    """Shares of prompts won by subset, as Markdown and as numbers.

    The average is over subsets, as published.
    """
    subsets = list(dict.fromkeys(bench.subset.tolist()))
    lines, numbers = [["prompts won, %", *subsets, "average"]], {}
    for name, values in scores.items():
        won = bench.won(values)
        shares = {subset: float(won[bench.subset == subset].mean()) for subset in subsets}
        numbers[name] = shares | {"average": float(np.mean(list(shares.values())))}
        lines.append([name, *(f"{100 * value:.1f}" for value in numbers[name].values())])
    counts = [str(int((bench.subset == subset).sum())) for subset in subsets]
    lines.append(["prompts", *counts, str(len(bench.subset))])
    return markdown(lines), numbers


def run(config: Config) -> dict[str, dict[str, float]]:
    """Embeds the benchmark, scores, reports."""
    options = Options(
        out=config.out, data=config.data, model=config.model, cache=config.cache, smoke=config.smoke
    )
    bench = read_reward_bench(data_of(options, write_reward_bench, HOME.name))
    prefs = embedded(bench.pairs, options)
    loaded = load_model(fitted_of(config, prefs.head))
    refuse_other_encoder(loaded, config.cache or config.out / "cache")
    model = loaded.model
    text, numbers = report(bench, scores(model, np.asarray(prefs.embeddings), prefs.head))
    fitted, prior = config.fitted or config.out / "fitted", type(model.prior).__name__
    heading = f"# RewardBench 2\n\n{fitted}, rank {model.rank}, {prior}."
    text = f"{heading}\n\n{text}"
    content = {
        "config": config,
        "encoder": loaded.encoder,
        "versions": {"jax": jax.__version__, "device": jax.devices()[0].device_kind},
        "won": numbers,
    }
    write_file(config.out / "rewardbench2.json", [json.dumps(plain(content)).encode()])
    write_file(config.out / "rewardbench2.md", [text.encode(), b"\n"])
    print(text)
    return numbers


if __name__ == "__main__":
    command_line.main(run, Config)
