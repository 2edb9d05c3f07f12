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
from typing import Any

import jax
import numpy as np
import tyro

from experiments.common.options import Options, data_of, embedded
from experiments.common.smoke_data import write_reward_bench
from lore_jax.cli.models import load_model, refuse_other_encoder
from lore_jax.datasets.reward_bench import HOME, RewardBench, read_reward_bench
from lore_jax.evaluation.results import plain
from lore_jax.model.model import Model, apply_basis
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Scores the reference head, each column of a basis, and the population on RewardBench 2.

    Attributes:
        out: where to write.
        fitted: a run, or a saved model.
        data: the folder of the benchmark, or its name on the hub (not with --smoke).
        model: the folder of the reward model that embedded what was fitted; not needed where the
            cache is there already.
        cache: the benchmark's embeddings; None: OUT/cache.
        smoke: made-up prompts and the tiny random reward model.
    """

    out: Path
    fitted: Path
    data: str | None = None
    model: Path | None = None
    cache: Path | None = None
    smoke: bool = False


def scores(model: Model, embeddings: Any, head: np.ndarray | None) -> dict[str, np.ndarray]:
    """What each method says of each reply, `[responses]`."""
    table = np.asarray(
        apply_basis(model, np.asarray(embeddings))
    )  # no terms: these replies were in no fit
    out = {} if head is None else {"reference head": np.asarray(embeddings, np.float32) @ head}
    out["population"] = table @ np.asarray(model.population.mean)
    # In the gaussian family column 0 is the population's direction, the others are what people
    # depart along.
    return out | {f"column {column}": table[:, column] for column in range(table.shape[1])}


def report(
    bench: RewardBench, found: dict[str, np.ndarray]
) -> tuple[str, dict[str, dict[str, float]]]:
    """Shares of prompts won by subset, as Markdown and as numbers; the average is over subsets, as
    published.
    """
    subsets = list(dict.fromkeys(bench.subset.tolist()))
    lines, numbers = [["prompts won, %", *subsets, "average"]], {}
    for name, values in found.items():
        won = bench.won(values)
        shares = {subset: float(won[bench.subset == subset].mean()) for subset in subsets}
        numbers[name] = shares | {"average": float(np.mean(list(shares.values())))}
        lines.append([name, *(f"{100 * value:.1f}" for value in numbers[name].values())])
    lines.append(
        [
            "prompts",
            *(str(int((bench.subset == subset).sum())) for subset in subsets),
            str(len(bench.subset)),
        ]
    )
    return markdown(lines), numbers


def run(config: Config) -> dict[str, dict[str, float]]:
    """Embeds the benchmark, scores, reports."""
    options = Options(
        out=config.out, data=config.data, model=config.model, cache=config.cache, smoke=config.smoke
    )
    bench = read_reward_bench(data_of(options, write_reward_bench, HOME.name))
    prefs = embedded(bench.pairs, options)
    loaded = load_model(config.fitted)
    refuse_other_encoder(loaded, config.cache or config.out / "cache")
    text, numbers = report(bench, scores(loaded.model, prefs.embeddings, prefs.head))
    text = f"# RewardBench 2\n\n{config.fitted}, rank {loaded.model.rank}, {loaded.model.family} family.\n\n{text}"
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
    run(tyro.cli(Config, description=Config.__doc__))
