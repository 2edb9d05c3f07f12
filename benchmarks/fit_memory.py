"""Peak memory of a joint fit of PersonalLLM's real size in the index form.

    python -m benchmarks.fit_memory [--method gaussian]

Of the simplex preset two CPU cores take about five minutes; 2 GB of disk. With --smoke a hundredth
of it takes seconds. The gaussian fit has its settings given and takes few steps: its memory does
not depend on them.

9,402 prompts x 8 responses x 4096 numbers in bfloat16, 1,000 users who judge every prompt: the
published code builds a tensor of 77 GB for a two-hundredth of these pairs. A process of its own
loads the cache and fits; expected is at most 1.25 x the table + 16 bytes a pair + 500 MB.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.peak_memory import json_of_child, peak_memory
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.storage.cache.writer import CacheWriter

FULL = SyntheticConfig(
    num_users=1000,
    num_prompts=9402,
    pairs_per_user=(9402, 9402),
    dim=4096,
    users="simplex",
    row_norm=64.0,
    dtype="bfloat16",
)
SMOKE = dataclasses.replace(
    FULL, num_users=100, num_prompts=940, pairs_per_user=(940, 940), dim=512
)


def write_cache(folder: Path, config: SyntheticConfig) -> None:
    """Simulates the preferences and writes them as a cache."""
    prefs = synthetic(config, seed=0).prefs
    with CacheWriter(
        folder, dim=config.dim, dtype=config.dtype, encoder={"model": "synthetic"}
    ) as writer:
        writer.append(prefs.embeddings)
        columns = {name: getattr(prefs, name) for name in ("chosen", "rejected", "user", "prompt")}
        writer.finish(**columns)


GAUSSIAN = PopulationConfig(
    rank=9,
    ridge_population=100.0,
    ridge_deviation=3.0,
    item_effects=0.0,
    item_effects_deviation=0.0,
    num_components=0,
    logit_scale=1.0,
)


def fit_once(
    folder: Path, steps: int, num_minibatches: int, method: str = "simplex"
) -> dict[str, object]:
    """Fits in this process and reports its memory and speed."""
    import jax

    import lore_jax as lore
    from lore_jax.fitting.fit import start

    jax.numpy.zeros(1).block_until_ready()
    runtime = peak_memory()
    prefs = lore.load_cache(folder, verify="quick")
    loaded = peak_memory()
    if method == "gaussian":
        steps, num_minibatches = 4, 1
        chosen = dataclasses.replace(GAUSSIAN, steps=steps)
    else:
        chosen = dataclasses.replace(
            lore.PAPER_MINIBATCH.method, steps=steps, num_minibatches=num_minibatches
        )
    running, state = start(prefs, lore.FitConfig(chosen), key=jax.random.key(0))
    started = peak_memory()
    state, info = running.advance(state, 0, 2)
    begin = time.perf_counter()
    state, info = running.advance(state, 2, steps - 2)
    seconds = time.perf_counter() - begin
    running.finish(state)
    bound = 1.25 * prefs.embeddings.nbytes + 16 * prefs.num_pairs + 500e6
    megabytes = {
        "runtime": runtime,
        "loaded": loaded,
        "started": started,
        "peak": peak_memory(),
        "bound": bound,
    }
    return {
        "method": method,
        "table_MB": round(prefs.embeddings.nbytes / 1e6),
        "pairs": prefs.num_pairs,
        **{f"{name}_MB": round(value / 1e6) for name, value in megabytes.items()},
        "within_bound": peak_memory() <= bound,
        "num_minibatches": num_minibatches,
        "ms_per_step": round(1e3 * seconds / (steps - 2), 2),
        "loss_of_last_epoch": round(float(np.mean(info.loss[-num_minibatches:])), 4),
    }


def main(arguments: list[str] | None = None) -> dict[str, object]:
    """Writes the cache, fits it in a process of its own, and prints what that took as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a hundredth of the size")
    parser.add_argument("--method", choices=("simplex", "gaussian"), default="simplex")
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        sizes = (40, 10) if options.smoke else (600, 200)
        result = fit_once(Path(options.child), *sizes, options.method)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_cache(Path(folder) / "cache", SMOKE if options.smoke else FULL)
            child = ["--child", f"{folder}/cache", "--method", options.method]
            child += ["--smoke"] * options.smoke
            result = json_of_child("benchmarks.fit_memory", child)
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    main()
