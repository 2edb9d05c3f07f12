"""The benchmark: lore_jax beside the published method and a vectorised PyTorch version, in one run on one machine.

    python -m experiments.throughput --out RUN                       (two CPU cores, about half an hour; any accelerator)
    python -m experiments.throughput --out RUN --only adapt users    (some sections)
    python -m experiments.throughput --out RUN --smoke               (tiny sizes, to see that it runs)

Writes `throughput.json` and `throughput.md` (the table it prints), after every section. Compilation is not counted;
every time is the median of several, but a fit's, which runs once. Where PyTorch is not installed its rows are absent. The
published rows are timed on a few steps and multiplied by the 1,000 (joint fit) or 500 (new users) that the method takes;
the table says so. On Linux `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` in front lets large results come in large pages: a
fifth of the time in `score`.

    fit        joint fit, 1,000 users x 45 pairs, dim 4096, rank 5: time to the loss that 1,000 published steps reach
    distinct   the same with a text of its own in every place, 90,000 responses
    adapt      500 users x 9 shots over 9,000 distinct responses, dim 4096, basis applied inside
    users      rewards given, rank 8, 10 shots: users a second against the number of users; ragged users
    score      100,000 users x 100 shared candidates; each user's best 10 of 1,000 of their own
    start      importing lore_jax beside importing jax; `lore-jax adapt` with its programs compiled before
    memory     peak of a fitting process over the bytes of its table
    embed      texts a second of a MiniLM folder (--model) on the Polis statements (--data)
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from lore_jax.adapt import adapt_rewards, population_posterior
from lore_jax.basis import LinearBasis
from lore_jax.files import write_file
from lore_jax.fit import start
from lore_jax.model import Model, Population
from lore_jax.preferences import Preferences, from_arrays
from lore_jax.tables import markdown

Row = dict[str, Any]
HAS_TORCH = importlib.util.find_spec("torch") is not None
PUBLISHED_STEPS = {"fit": 1000, "adapt": 500}
ROW_NORM, SPECTRUM, NOISE, LATENT, SEED = 30.0, 1.0, 0.1, 256, 0  # of the made-up embeddings


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    dim: int = 4096
    rank: int = 5
    users: int = 1000
    pairs: int = 45
    prompts: int = 1600
    steps: int = 1000
    timed_steps: int = 3
    new_users: int = 500
    shots: int = 9
    populations: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    score_users: int = 100_000
    longest: int = 600
    turns: int = 7


SMOKE = Sizes(64, 2, 20, 6, 30, 5, 1, 10, 3, (50, 200), 300, 4, 2)


def median_seconds(work: Callable[[], Any], turns: int) -> float:
    """The median time of `work`, after a first call that compiles."""
    jax.block_until_ready(work())
    seconds = []
    for _ in range(turns):
        begun = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def read_bandwidth(nbytes: int, turns: int) -> float:
    """Bytes a second that a plain sum over a float32 array of a size reads on this device."""
    array = jnp.ones((max(1, nbytes // 4096), 1024), jnp.float32)
    return array.nbytes / median_seconds(lambda: _sum(array), turns)


_sum = jax.jit(lambda array: jnp.sum(array))


def embeddings(responses: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of one norm, a spectrum that falls with a power, and noise in every direction: float32 `[responses, dim]`."""
    latent = min(LATENT, dim)
    spectrum = (1.0 + np.arange(latent, dtype=np.float32)) ** -SPECTRUM
    loadings = rng.standard_normal((latent, dim), np.float32) * spectrum[:, None]
    table = rng.standard_normal((responses, latent), np.float32) @ loadings
    table += NOISE * rng.standard_normal((responses, dim), np.float32)
    return table * (ROW_NORM / np.linalg.norm(table, axis=1, keepdims=True))


def comparisons(size: Sizes, *, distinct: bool) -> tuple[Preferences, Preferences]:
    """Users on the simplex, the paper's assumption, who choose between two replies to a prompt: to fit, and to test.

    The test is a third as many choices by the same users, between replies to any prompt.
    """
    rng = np.random.default_rng(SEED)
    pairs = size.users * size.pairs
    prompts, replies = (pairs, 2) if distinct else (size.prompts, 8)
    table = embeddings(prompts * replies, size.dim, rng)

    def draw(prompt: np.ndarray) -> np.ndarray:
        first = rng.integers(replies, size=len(prompt))
        second = (first + rng.integers(1, replies, size=len(prompt))) % replies
        return np.stack([prompt * replies + first, prompt * replies + second])

    def choose(prompt: np.ndarray, rows: np.ndarray) -> Preferences:
        user = np.repeat(np.arange(size.users), len(prompt) // size.users)
        margin = np.sum((rewards[rows[0]] - rewards[rows[1]]) * weights[user], axis=1) / ROW_NORM * 3.0
        swap = rng.random(len(prompt)) > 1.0 / (1.0 + np.exp(-margin))
        chosen, rejected = np.where(swap, rows[::-1], rows)
        return from_arrays(table, chosen, rejected, user, prompt=prompt)

    prompt = np.arange(pairs) if distinct else rng.integers(prompts, size=pairs)
    rows = draw(prompt)
    rewards = table @ rng.standard_normal((size.dim, size.rank), np.float32)
    weights = rng.dirichlet(np.full(size.rank, 0.3), size.users)
    train = choose(prompt, rows)
    prompt = rng.integers(prompts, size=size.users * (size.pairs // 3))
    return train, choose(prompt, draw(prompt))


def pytorch_rows(work: str, steps: dict[str, Callable[[], Callable[[], float]]], counts: int, timed: int) -> list[Row]:
    """Times a few steps of each method, made one after the other, and multiplies."""
    rows = []
    for name, make in steps.items():
        step = make()
        step()
        seconds = []
        for _ in range(timed):
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
        each = float(np.median(seconds))
        note = f"{counts:,} steps of {1e3 * each:,.4g} ms, {timed} timed"
        rows.append({"work": work, "method": name, "seconds": counts * each, "note": note})
    return rows


def fits(size: Sizes) -> dict[str, lore.FitConfig]:
    """The published method's own steps, which set the loss to reach, and what gets there sooner."""
    paper = dataclasses.replace(lore.PAPER, rank=size.rank)
    return {
        "lore_jax, the published steps": dataclasses.replace(paper, simplex=lore.SimplexConfig(steps=size.steps)),
        "lore_jax, in blocks": dataclasses.replace(lore.PAPER_IN_BLOCKS, rank=size.rank),
    }


def fit_section(size: Sizes, *, distinct: bool = False) -> Iterator[Row]:
    """Joint fit."""
    prefs, test = comparisons(size, distinct=distinct)
    work = f"fit {size.users:,} users x {size.pairs}, {prefs.num_responses:,} responses, dim {size.dim}"
    if HAS_TORCH:
        from experiments.pytorch_reference import published_fit, vectorised_fit

        given = (prefs.embeddings, prefs.chosen, prefs.rejected, prefs.user, size.rank)
        steps = {
            "PyTorch, published": lambda: published_fit(*given),
            "PyTorch, vectorised": lambda: vectorised_fit(*given),
        }
        yield from pytorch_rows(work, steps, size.steps, size.timed_steps)
    prefs = dataclasses.replace(prefs, embeddings=jnp.asarray(prefs.embeddings))
    target, speed = None, read_bandwidth(prefs.embeddings.nbytes, 5)
    for name, config in fits(size).items():
        running, state = start(prefs, config, key=jax.random.key(SEED))
        running.advance(state, min(10, running.steps))  # compiles; the state is donated, so another one begins
        del running, state
        begun = time.perf_counter()
        running, state = start(prefs, config, key=jax.random.key(SEED))
        laid_out = time.perf_counter() - begun
        # In chunks of ten, as a fit that shows its progress; in blocks, whose steps take a millisecond, all at once.
        chunk = running.steps if config.simplex.blocks > 1 else min(10, running.steps)
        for _ in range(0, running.steps, chunk):
            state, _ = running.advance(state, chunk)
        seconds = time.perf_counter() - begun
        model, users = running.finish(state)
        loss = float(np.mean(np.logaddexp(0.0, -lore.margins(model, users, prefs).mean)))
        right = np.mean(lore.margins(model, users, test).mean > 0)
        target = loss if target is None else target
        share = 2 * running.steps / config.simplex.blocks * prefs.embeddings.nbytes / (seconds - laid_out)
        note = f"{running.steps:,} steps, loss {loss:.4g}" + (f", which is not {target:.4g}" if loss > target else "")
        note += f", {right:.1%} of {test.num_pairs:,} further choices right"
        note += f"; {laid_out:.2g} s laying out, then {share / speed:.0%} of the bandwidth of a sum, at two passes"
        yield {"work": work, "method": name, "seconds": seconds, "note": note}


def adapt_section(size: Sizes) -> Iterator[Row]:
    """New users, the basis applied inside."""
    distinct = dataclasses.replace(size, users=size.new_users, pairs=size.shots)
    prefs, _ = comparisons(distinct, distinct=True)
    directions = np.random.default_rng(SEED).standard_normal((size.dim, size.rank), np.float32)
    work = f"adapt {size.new_users:,} users x {size.shots}, {prefs.num_responses:,} responses, dim {size.dim}"
    if HAS_TORCH:
        from experiments.pytorch_reference import published_adapt

        given = (prefs.embeddings, prefs.chosen, prefs.rejected, prefs.user, directions)
        steps = {"PyTorch, published": lambda: published_adapt(*given)}
        yield from pytorch_rows(work, steps, PUBLISHED_STEPS["adapt"], size.timed_steps)
    prefs = dataclasses.replace(prefs, embeddings=jnp.asarray(prefs.embeddings))
    speed = read_bandwidth(prefs.embeddings.nbytes, size.turns)
    floor = prefs.embeddings.nbytes / speed
    for family, prior in populations(size.rank).items():
        params, scale = {"V": jnp.asarray(directions)}, jnp.float32(ROW_NORM if family == "gaussian" else 1.0)
        temperature = 1.0 if family == "gaussian" else 100.0
        model = Model(LinearBasis(size.rank), params, scale, prior, family, temperature)
        converged = lore.adapt(model, prefs).converged.mean()
        seconds = median_seconds(lambda model=model: lore.adapt(model, prefs).weights, size.turns)
        note = f"{floor / seconds:.0%} of the floor, one pass at {speed / 1e9:.3g} GB/s; {converged:.2%} converged"
        yield {"work": work, "method": f"lore_jax, {family}", "seconds": seconds, "note": note}


def populations(rank: int) -> dict[str, Population]:
    """What is known of users before they say anything, in each family."""
    return {
        "gaussian": Population(jnp.zeros(rank), jnp.eye(rank)),
        "simplex": Population(jnp.full(rank, 1.0 / rank), jnp.zeros((rank, 0))),
    }


def index_pairs(count: np.ndarray, table: np.ndarray) -> Preferences:
    """Random pairs of a table of rewards: `count [users]` each."""
    rng, pairs = np.random.default_rng(SEED), int(count.sum())
    chosen = rng.integers(len(table), size=pairs, dtype=np.int32)
    rejected = (chosen + rng.integers(1, len(table), size=pairs, dtype=np.int32)) % len(table)
    return from_arrays(table, chosen, rejected, np.repeat(np.arange(len(count)), count), num_users=len(count))


def users_section(size: Sizes) -> Iterator[Row]:
    """Populations of new users, rewards given: everything from index pairs to posteriors on the host counts."""
    rank, shots = 8, 10
    table = np.random.default_rng(SEED).standard_normal((12_800, rank)).astype(np.float32)
    on_device = jnp.asarray(table)
    counts = {f"{users:,} users x {shots}": np.full(users, shots) for users in size.populations}
    ragged = np.minimum(np.random.default_rng(SEED).geometric(1.0 / shots, size.populations[-2]), size.longest)
    counts[f"{len(ragged):,} users, 1 to {ragged.max()} shots, {ragged.mean():.1f} on average"] = ragged
    for family, prior in populations(rank).items():
        model = Model(LinearBasis(rank), None, jnp.ones(()), prior, family)
        for name, count in counts.items():
            prefs = index_pairs(count, table)
            found = adapt_rewards(model, on_device, prefs)
            seconds = median_seconds(lambda m=model, p=prefs: adapt_rewards(m, on_device, p).weights, size.turns)
            note = f"{len(count) / seconds:,.0f} users/s, {count.sum() / seconds:,.0f} pairs/s; "
            note += f"{found.converged.mean():.4%} converged in {found.steps.mean():.1f} steps"
            yield {
                "work": f"adapt {name}, rank {rank}",
                "method": f"lore_jax, {family}",
                "seconds": seconds,
                "note": note,
            }


def score_section(size: Sizes) -> Iterator[Row]:
    """Scores of candidates, beside a plain write of as many numbers."""
    rng, rank, shared, own = np.random.default_rng(SEED), 8, 100, min(1000, size.score_users)
    table = rng.standard_normal((5000, rank), np.float32)
    model = Model(LinearBasis(rank), {"V": jnp.eye(rank)}, jnp.ones(()), populations(rank)["gaussian"], "gaussian")
    users = population_posterior(model, size.score_users)
    users = dataclasses.replace(users, weights=rng.standard_normal((size.score_users, rank), np.float32))
    work = f"score {size.score_users:,} users x {shared} shared candidates, rank {rank}"
    value, shape = jnp.float32(1.5), (size.score_users, shared)
    writes = {
        "JAX": median_seconds(lambda: _full(value, *shape), size.turns),
        "NumPy": median_seconds(lambda: np.full(shape, 1.5, np.float32), size.turns),
    }
    for name, write in writes.items():
        yield {"work": work, "method": f"a plain write of the result, {name}", "seconds": write, "note": "the floor"}
    candidates = np.arange(shared)
    seconds = median_seconds(lambda: lore.score(model, users, table, candidates), size.turns)
    note = " and ".join(f"{seconds / write:.2f} x {name}'s plain write" for name, write in writes.items())
    yield {"work": work, "method": "lore_jax", "seconds": seconds, "note": note}
    few = users.take(np.arange(size.score_users // 10))
    mine = rng.integers(len(table), size=(few.num_users, own))
    seconds = median_seconds(lambda: lore.score(model, few, table, mine, top_k=10), size.turns)
    work = f"best 10 of {own} candidates of their own, {few.num_users:,} users, rank {rank}"
    note = f"{mine.size / seconds:,.0f} candidates/s"
    yield {"work": work, "method": "lore_jax", "seconds": seconds, "note": note}


_full = jax.jit(lambda value, *shape: jnp.full(shape, value), static_argnums=(1, 2))


def start_section(size: Sizes) -> Iterator[Row]:
    """Importing, and a command whose programs have been compiled before."""

    def seconds_of(*command: str, env: dict[str, str] | None = None) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env={**os.environ, **(env or {})})
        return time.perf_counter() - begun

    turns = min(3, size.turns)
    touch = "import lore_jax as l; [getattr(l, n) for n in l.__all__ if n not in ('save', 'load')]"
    for name, code in {"jax alone": "import jax", "lore_jax": "import jax, lore_jax", "every name": touch}.items():
        seconds = float(np.median([seconds_of("-c", code) for _ in range(turns)]))
        yield {"work": "import", "method": name, "seconds": seconds, "note": "a new process"}
    with tempfile.TemporaryDirectory() as folder:
        write_small_model_and_cache(Path(folder))
        env = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/programs"}
        command = ["-m", "lore_jax", "adapt", f"{folder}/model", f"{folder}/cache", "--export", f"{folder}/w.parquet"]
        cold = seconds_of(*command, "--overwrite", env=env)
        warm = float(np.median([seconds_of(*command, "--overwrite", env=env) for _ in range(turns)]))
    work = "lore-jax adapt, 100 users, a new process"
    yield {"work": work, "method": "first time", "seconds": cold, "note": "compiles"}
    yield {"work": work, "method": "again", "seconds": warm, "note": "compiled before"}


def write_small_model_and_cache(folder: Path) -> None:
    """A saved model of rank 8 and dim 384, and a cache of 100 users."""
    rng, rank = np.random.default_rng(SEED), 8
    table = embeddings(2000, 384, rng)
    params = {"V": jnp.asarray(rng.standard_normal((384, rank), np.float32))}
    lore.save(
        folder / "model",
        Model(LinearBasis(rank), params, jnp.float32(ROW_NORM), populations(rank)["gaussian"], "gaussian"),
    )
    prefs = index_pairs(np.full(100, 10), table)
    with lore.CacheWriter(folder / "cache", dim=384, dtype="float32") as writer:
        writer.append(table)
        writer.finish(chosen=prefs.chosen, rejected=prefs.rejected, user=prefs.user)


def memory_section(size: Sizes) -> Iterator[Row]:
    """Peak memory of a process that reads the comparisons, fits a few steps and adapts."""
    prefs, _ = comparisons(size, distinct=False)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("embeddings", "chosen", "rejected", "user"):
            np.save(f"{folder}/{name}.npy", getattr(prefs, name))
        command = [sys.executable, "-m", "experiments.throughput", "--peak", folder, str(size.rank)]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    table, own = prefs.embeddings.nbytes, said["peak"] - said["libraries"]
    note = (
        f"{own / table:.2f} x the table of {table / 1e6:,.0f} MB, beside {said['libraries'] / 1e6:,.0f} MB of libraries"
    )
    yield {"work": "peak memory of a fit", "method": "lore_jax", "bytes": said["peak"], "note": note}


def peak(folder: Path, rank: int) -> dict[str, int]:
    """In a process of its own: the peak with the libraries alone, and with the fit; bytes."""

    def so_far() -> int:
        # Not getrusage: what it counts begins with the process this one was started from.
        status = Path("/proc/self/status").read_text().split()
        return 1024 * int(status[status.index("VmHWM:") + 1])

    jax.block_until_ready(_sum(jnp.ones(4)))
    libraries = so_far()
    prefs = from_arrays(*(np.load(folder / f"{name}.npy") for name in ("embeddings", "chosen", "rejected", "user")))
    config = dataclasses.replace(lore.PAPER, rank=rank, simplex=lore.SimplexConfig(steps=5))
    lore.fit(prefs, config, key=jax.random.key(SEED))
    return {"libraries": libraries, "peak": so_far()}


def embed_section(model: Path | None, data: Path | None, *, smoke: bool) -> Iterator[Row]:
    """Texts a second, if the folders are given."""
    if model is None or data is None:
        return
    from experiments.embed_throughput import measure, polis_texts

    texts = polis_texts(data)
    found = measure(model, texts[:32], turns=1) if smoke else measure(model, texts)
    for name, rate in found["texts_per_second"].items():
        method = "lore_jax" if name == "jax" else f"PyTorch, {name.removeprefix('torch, ')}"
        work = f"embed {found['texts']:,} texts"
        yield {"work": work, "method": method, "seconds": found["texts"] / rate, "note": f"{rate:,.1f} texts/s"}


def with_ratios(rows: list[Row]) -> list[Row]:
    """Each row beside the fastest lore_jax row of the same work: `ratio`, how many times as long it takes."""
    ours = [row for row in rows if row["method"].startswith("lore_jax") and "seconds" in row]
    out = []
    for row in rows:
        same = [own["seconds"] for own in ours if (own["section"], own["work"]) == (row["section"], row["work"])]
        out.append({**row, "ratio": row["seconds"] / min(same)} if same else row)
    return out


def table_of(result: dict[str, Any]) -> str:
    """The rows as a Markdown table under a line that says where they come from."""
    lines = [["work", "method", "seconds", "x lore_jax", ""]]
    for row in result["rows"]:
        amount = f"{row['seconds']:.4g}" if "seconds" in row else f"{row['bytes'] / 1e6:,.0f} MB"
        lines.append(
            [row["work"], row["method"], amount, f"{row['ratio']:,.3g}" if "ratio" in row else "", row["note"]]
        )
    where = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    return f"{result['device']}, {result['cores']} cores; {where}\n\n{markdown(lines)}\n"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Runs the sections, prints the table, and writes it with the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("fit", "distinct", "adapt", "users", "score", "start", "memory", "embed")
    parser.add_argument("--out", type=Path, help="folder for throughput.json and throughput.md")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="the sections to run")
    parser.add_argument("--users", type=int, nargs="+", help="numbers of users for the section `users`, ascending")
    parser.add_argument("--model", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, help="folder of the Polis conversations")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak:
        found = peak(Path(options.peak[0]), int(options.peak[1]))
        print(json.dumps(found))
        return found
    if options.out is None:
        parser.error("--out is missing: the folder for the results")
    size = SMOKE if options.smoke else Sizes()
    if options.users:
        size = dataclasses.replace(size, populations=tuple(options.users))
    sections: dict[str, Callable[[], Iterator[Row]]] = {
        "fit": lambda: fit_section(size),
        "distinct": lambda: fit_section(size, distinct=True),
        "adapt": lambda: adapt_section(size),
        "users": lambda: users_section(size),
        "score": lambda: score_section(size),
        "start": lambda: start_section(size),
        "memory": lambda: memory_section(size),
        "embed": lambda: embed_section(options.model, options.data, smoke=options.smoke),
    }
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("jax", *["torch"] * HAS_TORCH)}
    versions |= {name: os.environ[name] for name in ("GLIBC_TUNABLES", "XLA_FLAGS") if os.environ.get(name)}
    result: dict[str, Any] = {
        "device": f"{device.platform} {device.device_kind}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {"python": platform.python_version(), **versions},
        "sizes": dataclasses.asdict(size),
        "rows": [],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name not in options.only:
            continue
        for row in sections[name]():
            result["rows"] = with_ratios([*result["rows"], {"section": name, **row}])
            print(f"{name}: {row['work']}, {row['method']}: {row['note']}", file=sys.stderr, flush=True)
        write_file(options.out / "throughput.json", [json.dumps(result, indent=1).encode()])
        write_file(options.out / "throughput.md", [table_of(result).encode()])
    print(table_of(result))
    return result


if __name__ == "__main__":
    main()
