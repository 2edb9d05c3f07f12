"""The benchmark's new users: adapting, scoring candidates, and starting a process that does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from benchmarks.throughput_parts import (
    HAS_TORCH,
    ROW_NORM,
    SEED,
    Row,
    Sizes,
    comparisons,
    embeddings,
    index_pairs,
    median_seconds,
    priors,
    pytorch_rows,
    read_bandwidth,
)
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import population_posterior
from lore_jax.users.adapt import adapt_rewards
from lore_jax.users.score import top_k

PUBLISHED_STEPS = 500


def adapt_section(size: Sizes) -> Iterator[Row]:
    """New users, the basis applied inside."""
    distinct = dataclasses.replace(size, users=size.new_users, pairs=size.shots)
    prefs, _ = comparisons(distinct, distinct=True)
    directions = np.random.default_rng(SEED).standard_normal((size.dim, size.rank), np.float32)
    work = (
        f"adapt {size.new_users:,} users x {size.shots}, {prefs.num_responses:,} responses, "
        f"dim {size.dim}"
    )
    if HAS_TORCH:
        from benchmarks.pytorch_reference import published_adapt

        given = (np.asarray(prefs.embeddings), prefs.chosen, prefs.rejected, prefs.user, directions)
        steps = {"PyTorch, published": lambda: published_adapt(*given)}
        yield from pytorch_rows(work, steps, PUBLISHED_STEPS, size.timed_steps)
    prefs = dataclasses.replace(prefs, embeddings=jnp.asarray(prefs.embeddings))
    speed = read_bandwidth(prefs.embeddings.nbytes, size.turns)
    bound = prefs.embeddings.nbytes / speed
    for family, prior in priors(size.rank).items():
        scale, temperature = (ROW_NORM, 1.0) if family == "gaussian" else (1.0, 100.0)
        params = {"V": jnp.asarray(directions)}
        model = Model(LinearBasis(size.rank), params, jnp.float32(scale), prior, temperature)
        converged = lore.adapt(model, prefs).converged.mean()
        seconds = median_seconds(lambda model=model: lore.adapt(model, prefs).weights, size.turns)
        note = (
            f"{bound / seconds:.0%} of the bound, one pass at {speed / 1e9:.3g} GB/s; "
            f"{converged:.2%} converged"
        )
        yield {"work": work, "method": f"lore_jax, {family}", "seconds": seconds, "note": note}


def users_section(size: Sizes) -> Iterator[Row]:
    """Populations of new users, rewards given, from index pairs to posteriors on the host."""
    rank, shots = 8, 10
    table = np.random.default_rng(SEED).standard_normal((12_800, rank)).astype(np.float32)
    on_device = jnp.asarray(table)
    counts = {f"{users:,} users x {shots}": np.full(users, shots) for users in size.populations}
    ragged = np.minimum(
        np.random.default_rng(SEED).geometric(1.0 / shots, size.populations[-2]), size.longest
    )
    counts[f"{len(ragged):,} users, 1 to {ragged.max()} shots, {ragged.mean():.1f} on average"] = (
        ragged
    )
    for family, prior in priors(rank).items():
        model = Model(LinearBasis(rank), {}, jnp.ones(()), prior)
        for name, count in counts.items():
            prefs = index_pairs(count, table)
            posterior = adapt_rewards(model, on_device, prefs)
            seconds = median_seconds(
                lambda m=model, p=prefs: adapt_rewards(m, on_device, p).weights, size.turns
            )
            note = f"{len(count) / seconds:,.0f} users/s, {count.sum() / seconds:,.0f} pairs/s; "
            note += (
                f"{posterior.converged.mean():.4%} converged in {posterior.steps.mean():.1f} steps"
            )
            work, label = f"adapt {name}, rank {rank}", f"lore_jax, {family}"
            yield {"work": work, "method": label, "seconds": seconds, "note": note}


def score_section(size: Sizes) -> Iterator[Row]:
    """Scores of candidates, beside a plain write of as many numbers."""
    rng, rank, shared, own = np.random.default_rng(SEED), 8, 100, min(1000, size.score_users)
    table = rng.standard_normal((5000, rank), np.float32)
    model = Model(
        LinearBasis(rank),
        {"V": jnp.eye(rank)},
        jnp.ones(()),
        priors(rank)["gaussian"],
    )
    users = population_posterior(model, size.score_users)
    users = dataclasses.replace(
        users, weights=rng.standard_normal((size.score_users, rank), np.float32)
    )
    work = f"score {size.score_users:,} users x {shared} shared candidates, rank {rank}"
    value, shape = jnp.float32(1.5), (size.score_users, shared)
    writes = {
        "JAX": median_seconds(lambda: _full(value, *shape), size.turns),
        "NumPy": median_seconds(lambda: np.full(shape, 1.5, np.float32), size.turns),
    }
    for name, write in writes.items():
        label = f"a plain write of the result, {name}"
        yield {"work": work, "method": label, "seconds": write, "note": "the bound"}
    everybody = np.arange(shared)
    seconds = median_seconds(lambda: lore.score(model, users, table, everybody), size.turns)
    note = " and ".join(
        f"{seconds / write:.2f} x {name}'s plain write" for name, write in writes.items()
    )
    yield {"work": work, "method": "lore_jax", "seconds": seconds, "note": note}
    few = users.take(np.arange(size.score_users // 10))
    candidates = rng.integers(len(table), size=(few.num_users, own))
    seconds = median_seconds(lambda: top_k(model, few, table, 10, candidates), size.turns)
    work = f"best 10 of {own} candidates of their own, {few.num_users:,} users, rank {rank}"
    note = f"{candidates.size / seconds:,.0f} candidates/s"
    yield {"work": work, "method": "lore_jax", "seconds": seconds, "note": note}


_full = jax.jit(lambda value, *shape: jnp.full(shape, value), static_argnums=(1, 2))


def start_section(size: Sizes) -> Iterator[Row]:
    """Importing, and a command whose programs have been compiled before."""

    def seconds_of(*command: str, env: dict[str, str] | None = None) -> float:
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, *command],
            check=True,
            capture_output=True,
            env={**os.environ, **(env or {})},
        )
        return time.perf_counter() - begun

    turns = min(3, size.turns)
    touch = "import lore_jax as l; [getattr(l, n) for n in l.__all__ if n not in ('save', 'load')]"
    for name, code in {
        "jax alone": "import jax",
        "lore_jax": "import jax, lore_jax",
        "every name": touch,
    }.items():
        seconds = float(np.median([seconds_of("-c", code) for _ in range(turns)]))
        yield {"work": "import", "method": name, "seconds": seconds, "note": "a new process"}
    with tempfile.TemporaryDirectory() as folder:
        write_small_model_and_cache(Path(folder))
        env = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/programs"}
        command = ["-m", "lore_jax", "adapt", f"{folder}/model", f"{folder}/cache"]
        command += ["--export", f"{folder}/w.parquet"]
        cold = seconds_of(*command, "--overwrite", env=env)
        warm = float(
            np.median([seconds_of(*command, "--overwrite", env=env) for _ in range(turns)])
        )
    work = "lore-jax adapt, 100 users, a new process"
    yield {"work": work, "method": "first time", "seconds": cold, "note": "compiles"}
    yield {"work": work, "method": "again", "seconds": warm, "note": "compiled before"}


def write_small_model_and_cache(folder: Path) -> None:
    """A saved model of rank 8 and dim 384, and a cache of 100 users."""
    rng, rank = np.random.default_rng(SEED), 8
    table = embeddings(2000, 384, rng)
    params = {"V": jnp.asarray(rng.standard_normal((384, rank), np.float32))}
    prior = priors(rank)["gaussian"]
    model = Model(LinearBasis(rank), params, jnp.float32(ROW_NORM), prior)
    lore.save(folder / "model", model)
    prefs = index_pairs(np.full(100, 10), table)
    with lore.CacheWriter(folder / "cache", dim=384, dtype="float32") as writer:
        writer.append(table)
        writer.finish(chosen=prefs.chosen, rejected=prefs.rejected, user=prefs.user)
