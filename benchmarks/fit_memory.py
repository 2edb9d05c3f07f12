"""Peak memory of a joint fit of PersonalLLM's real size in the index form.

    python -m benchmarks.fit_memory                (two CPU cores, about five minutes, 2 GB of disk)
    python -m benchmarks.fit_memory --smoke        (a hundredth of it, seconds)

9,402 prompts x 8 responses x 4096 numbers in bfloat16, 1,000 users who judge every prompt: the
published code builds a tensor of 77 GB for a two-hundredth of these pairs. A process of its own
loads the cache and fits; expected is at most 1.25 x the table + 16 bytes a pair + 500 MB.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peak_memory import peak_memory
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
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


def fit_once(folder: Path, steps: int, num_minibatches: int) -> dict[str, Any]:
    """Fits in this process and says what it took."""
    import jax

    import lore_jax as lore
    from lore_jax.fitting.fit import start

    jax.numpy.zeros(1).block_until_ready()
    runtime = peak_memory()
    prefs = lore.load_cache(folder, verify="quick")
    loaded = peak_memory()
    simplex = dataclasses.replace(
        lore.PAPER_MINIBATCH.simplex, steps=steps, num_minibatches=num_minibatches
    )
    running, state = start(
        prefs, dataclasses.replace(lore.PAPER_MINIBATCH, simplex=simplex), key=jax.random.key(0)
    )
    begun = peak_memory()
    state, info = running.advance(state, 2)
    begin = time.perf_counter()
    state, info = running.advance(state, steps - 2)
    seconds = time.perf_counter() - begin
    running.finish(state)
    bound = 1.25 * prefs.embeddings.nbytes + 16 * prefs.num_pairs + 500e6
    megabytes = {
        "runtime": runtime,
        "loaded": loaded,
        "begun": begun,
        "peak": peak_memory(),
        "bound": bound,
    }
    return {
        "table_MB": round(prefs.embeddings.nbytes / 1e6),
        "pairs": prefs.num_pairs,
        **{f"{name}_MB": round(value / 1e6) for name, value in megabytes.items()},
        "within_bound": peak_memory() <= bound,
        "num_minibatches": num_minibatches,
        "ms_per_step": round(1e3 * seconds / (steps - 2), 2),
        "loss_of_last_epoch": round(float(np.mean(info["loss"][-num_minibatches:])), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a hundredth of the size")
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(
            json.dumps(
                fit_once(Path(arguments.child), *((40, 10) if arguments.smoke else (600, 200)))
            )
        )
        sys.exit()
    with tempfile.TemporaryDirectory() as folder:
        write_cache(Path(folder) / "cache", SMOKE if arguments.smoke else FULL)
        command = [sys.executable, "-m", "benchmarks.fit_memory", "--child", f"{folder}/cache"]
        subprocess.run(command + ["--smoke"] * arguments.smoke, check=True)
