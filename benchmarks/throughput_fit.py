"""The benchmark's joint fits: how long they take, and how much memory."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from benchmarks.peak_memory import peak_memory
from benchmarks.throughput_parts import (
    HAS_TORCH,
    SEED,
    Row,
    Sizes,
    comparisons,
    plain_sum,
    pytorch_rows,
    read_bandwidth,
)
from lore_jax.data.preferences import from_arrays
from lore_jax.fitting.fit import start


def fits(size: Sizes) -> dict[str, lore.FitConfig]:
    """The published method's own steps, which set the loss to reach, and a faster fit."""
    minibatch = dataclasses.replace(lore.PAPER_MINIBATCH.method, rank=size.rank)
    return {
        "lore_jax, the published steps": lore.FitConfig(
            lore.SimplexConfig(rank=size.rank, steps=size.steps)
        ),
        "lore_jax, in minibatches": lore.FitConfig(minibatch),
    }


def fit_section(size: Sizes, *, distinct: bool = False) -> Iterator[Row]:
    """Joint fit."""
    prefs, test = comparisons(size, distinct=distinct)
    work = (
        f"fit {size.users:,} users x {size.pairs}, {prefs.num_responses:,} responses, "
        f"dim {size.dim}"
    )
    if HAS_TORCH:
        from benchmarks.pytorch_reference import published_fit, vectorised_fit

        given = (np.asarray(prefs.embeddings), prefs.chosen, prefs.rejected, prefs.user, size.rank)
        steps = {
            "PyTorch, published": lambda: published_fit(*given),
            "PyTorch, vectorised": lambda: vectorised_fit(*given),
        }
        yield from pytorch_rows(work, steps, size.steps, size.timed_steps)
    prefs = dataclasses.replace(prefs, embeddings=jnp.asarray(prefs.embeddings))
    target, speed = None, read_bandwidth(prefs.embeddings.nbytes, 5)
    for name, config in fits(size).items():
        running, state = start(prefs, config, key=jax.random.key(SEED))
        # Compiles; the state is donated, so another one begins.
        running.advance(state, 0, min(10, running.steps))
        del running, state
        begun = time.perf_counter()
        running, state = start(prefs, config, key=jax.random.key(SEED))
        laid_out = time.perf_counter() - begun
        # In chunks of ten, as a fit that shows its progress; in mini-batches, whose steps take a
        # millisecond, all at once.
        num_minibatches = config.method.num_minibatches
        chunk = running.steps if num_minibatches > 1 else min(10, running.steps)
        for taken in range(0, running.steps, chunk):
            state, _ = running.advance(state, taken, chunk)
        seconds = time.perf_counter() - begun
        predictor = running.finish(state)
        loss = float(np.mean(np.logaddexp(0.0, -predictor.fitted(prefs, prefs).mean)))
        right = np.mean(predictor.fitted(prefs, test).mean > 0)
        target = loss if target is None else target
        passes = 2 * running.steps / num_minibatches
        bandwidth = passes * prefs.embeddings.nbytes / (seconds - laid_out)
        note = (
            f"{running.steps:,} steps, loss {loss:.4g}"
            + (f", which is not {target:.4g}" if loss > target else "")
            + f", {right:.1%} of {test.num_pairs:,} further choices right; {laid_out:.2g} s laying "
            f"out, then {bandwidth / speed:.0%} of the bandwidth of a sum, at two passes"
        )
        yield {"work": work, "method": name, "seconds": seconds, "note": note}


def memory_section(size: Sizes) -> Iterator[Row]:
    """Peak memory of a process that reads the comparisons and fits a few steps."""
    prefs, _ = comparisons(size, distinct=False)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("embeddings", "chosen", "rejected", "user"):
            np.save(f"{folder}/{name}.npy", getattr(prefs, name))
        code = f"from benchmarks.throughput_fit import peak; print(peak({folder!r}, {size.rank}))"
        command = [sys.executable, "-c", code]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    memory = json.loads(output.splitlines()[-1])
    table, own = prefs.embeddings.nbytes, memory["peak"] - memory["libraries"]
    note = (
        f"{own / table:.2f} x the table of {table / 1e6:,.0f} MB, beside "
        f"{memory['libraries'] / 1e6:,.0f} MB of libraries"
    )
    work = "peak memory of a fit"
    yield {"work": work, "method": "lore_jax", "bytes": memory["peak"], "note": note}


def peak(folder: str, rank: int) -> str:
    """In a process of its own: peak bytes with the libraries alone, and with the fit, as JSON."""
    jax.block_until_ready(plain_sum(jnp.ones(4)))
    libraries = peak_memory()
    prefs = from_arrays(
        *(np.load(f"{folder}/{name}.npy") for name in ("embeddings", "chosen", "rejected", "user"))
    )
    config = lore.FitConfig(lore.SimplexConfig(rank=rank, steps=5))
    lore.fit(prefs, config, key=jax.random.key(SEED))
    return json.dumps({"libraries": libraries, "peak": peak_memory()})
