"""Merging adapters for many users: speed in memory and onto disk, beside plain sums and writes.

    python -m benchmarks.merge

Adapters of rank 16 for the attention of a model of Llama-3.2-1B's shape (16 layers, q, k, v, o;
6.8 MB each in bfloat16), three of them, 1,000 users. Rates are bytes of merged adapters a second.
*Plain sum*: NumPy, `w_1 a_1 + w_2 a_2 + w_3 a_3` in float32, of one user's numbers, into memory
that is there. *Plain write*: as many files of as many bytes, one thread, with `os.sync` at the end.

The disk is given twice the bytes of all adapters and then freed. With --smoke it takes seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lore_jax.steering.adapters import Adapter, read_adapter
from lore_jax.steering.merge import make_merger
from lore_jax.steering.merged_folder import write_merged
from lore_jax.steering.mixing_weights import MergeConfig
from lore_jax.storage.safetensors import write_tensors

FULL = {"layers": 16, "hidden": 2048, "key_value": 512, "rank": 16, "users": 1000}
SMOKE = {"layers": 2, "hidden": 64, "key_value": 16, "rank": 4, "users": 20}
_ADAPTERS = 3
_USERS_OF_SVD = 20  # a decomposition of each matrix of each user


def write_adapters(folder: Path, sizes: dict[str, int]) -> list[Adapter]:
    """Random adapters of the model's attention, as PEFT writes them."""
    hidden, rank = sizes["hidden"], sizes["rank"]
    heights = {"q": hidden, "k": sizes["key_value"], "v": sizes["key_value"], "o": hidden}
    rng, adapters = np.random.default_rng(0), []
    for number in range(_ADAPTERS):
        tensors = {}
        for layer in range(sizes["layers"]):
            for name, height in heights.items():
                stem = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
                for side, shape in (("A", (rank, hidden)), ("B", (height, rank))):
                    drawn = rng.standard_normal(shape, np.float32) / np.sqrt(shape[1])
                    tensors[f"{stem}.lora_{side}.weight"] = drawn.astype(ml_dtypes.bfloat16)
        own = folder / f"adapter{number}"
        own.mkdir(parents=True)
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
        (own / "adapter_config.json").write_text(json.dumps(config))
        write_tensors(own / "adapter_model.safetensors", tensors)
        adapters.append(read_adapter(own))
    return adapters


def seconds_of(work: Callable[[], object], turns: int = 3) -> float:
    """The median time, after one call that compiles and touches memory."""
    work()
    taken = []
    for _ in range(turns):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


def plain_sum_rate(numbers: int) -> float:
    """Bytes a second of a weighted sum of three float32 arrays in NumPy."""
    arrays = np.random.default_rng(0).standard_normal((_ADAPTERS, numbers), np.float32)
    weights, out, part = np.array([0.2, 0.3, 0.5], np.float32), *np.empty((2, numbers), np.float32)

    def work() -> None:
        np.multiply(arrays[0], weights[0], out=out)
        for array, weight in zip(arrays[1:], weights[1:], strict=True):
            np.multiply(array, weight, out=part)
            np.add(out, part, out=out)

    return out.nbytes / seconds_of(work, 7)


def plain_write_rate(folder: Path, files: int, size: int) -> float:
    """Bytes a second of plain writes of files."""
    content = np.random.default_rng(0).bytes(size)
    folder.mkdir()
    begun = time.perf_counter()
    for number in range(files):
        (folder / str(number)).write_bytes(content)
    os.sync()
    taken = time.perf_counter() - begun
    shutil.rmtree(folder)
    os.sync()
    return files * size / taken


def measure(folder: Path, sizes: dict[str, int], methods: tuple[str, ...]) -> dict[str, Any]:
    """Rates of every method, and of what is plain."""
    adapters, users = write_adapters(folder, sizes), sizes["users"]
    weights = np.random.default_rng(1).dirichlet(np.ones(_ADAPTERS), users).astype(np.float32)
    result: dict[str, Any] = {"sizes": sizes}
    for method in methods:
        merger = make_merger(adapters, MergeConfig(method))  # pyright: ignore[reportArgumentType]
        numbers = sum(height * width for height, width in merger.tensors.values())
        size, some = numbers * merger.dtype.itemsize, weights
        if method == "svd":
            some = weights[:_USERS_OF_SVD]

        def in_memory(merger: Any = merger, some: np.ndarray = some) -> None:
            for _ in merger.merge(some):
                pass

        row = {"bytes a user": size, "plain sum": plain_sum_rate(numbers)}
        row["in memory"] = size * len(some) / seconds_of(in_memory, 1)
        row["plain write"] = plain_write_rate(folder / "plain", len(some), size)
        begun = time.perf_counter()
        report = write_merged(folder / "out", merger, some)
        row["written"] = report.bytes / (time.perf_counter() - begun)
        row["error"] = report.error[0]
        row["of the plain sum"] = row["in memory"] / row["plain sum"]
        row["of the plain write"] = row["written"] / row["plain write"]
        shutil.rmtree(folder / "out")
        result[method] = row
    return result


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measures and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--users", type=int, help="how many users")
    parser.add_argument("--methods", nargs="+", default=["linear", "cat", "svd"])
    options = parser.parse_args(arguments)
    sizes = dict(SMOKE if options.smoke else FULL)
    sizes |= {} if options.users is None else {"users": options.users}
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), sizes, tuple(options.methods))
    print(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
