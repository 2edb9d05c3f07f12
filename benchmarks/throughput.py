"""The benchmark: lore_jax beside the published method and a vectorised PyTorch version.

    python -m benchmarks.throughput --out RUN
    python -m benchmarks.throughput --out RUN --only adapt users    (some sections)
    python -m benchmarks.throughput --out RUN --smoke               (tiny sizes)

All in one run on one machine: about half an hour on two CPU cores; any accelerator. Writes
`throughput.json` and `throughput.md` (the table it prints), after every row. Compilation is not
counted; every time is the median of several, but a fit's, which runs once. Where PyTorch is not
installed its rows are absent. The published rows are timed on a few steps and multiplied by the
1,000 (joint fit) or 500 (new users) that the method takes; the table says so.

    fit        joint fit, 1,000 users x 45 pairs, dim 4096, rank 5: time to the loss that 1,000
               published steps reach
    choose     the recommended fit and ridge BT, everything chosen, beside the same with everything
               given, and beside the same grids in PyTorch: seconds, compilation, log loss of
               further choices; four shapes
    growth     seconds of a fit and of adapting against users, pairs, responses, dim and rank, with
               the exponents
    distinct   the same with a text of its own in every place, 90,000 responses
    adapt      500 users x 9 shots over 9,000 distinct responses, dim 4096, basis applied inside
    users      rewards given, rank 8, 10 shots: users a second against the number of users; users
               of unequal shots
    score      100,000 users x 100 shared candidates; each user's best 10 of 1,000 of their own
    ask        100,000 users' next question out of 1,000 shared pairs, beside each user's best 10
    session    an answer of one user after warming up, median and worst; answers in batches; one
               user's pairs, ties, ratings and rankings
    start      importing lore_jax beside importing jax; `lore-jax adapt` with its programs compiled
               before
    memory     peak of a fitting process over the bytes of its table
    embed      texts a second of a MiniLM folder (--model) on the Polis statements (--data)
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.throughput_choose import choose_section
from benchmarks.throughput_fit import fit_section, memory_section
from benchmarks.throughput_growth import growth_section
from benchmarks.throughput_parts import HAS_TORCH, SMOKE, Row, Sizes
from benchmarks.throughput_questions import ask_section, session_section
from benchmarks.throughput_users import adapt_section, score_section, start_section, users_section
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file


def embed_section(model: Path | None, data: Path | None, *, smoke: bool) -> Iterator[Row]:
    """Texts a second, if the folders are given."""
    if model is None or data is None:
        return
    from benchmarks.embed_throughput import measure, polis_texts

    measured = measure(model, polis_texts(data), smoke=smoke)
    count = measured["texts"]
    for name, rate in measured["texts_per_second"].items():
        method = "lore_jax" if name == "jax" else f"PyTorch, {name.removeprefix('torch, ')}"
        note = f"{rate:,.1f} texts/s"
        yield {
            "work": f"embed {count:,} texts",
            "method": method,
            "seconds": count / rate,
            "note": note,
        }


def with_ratios(rows: list[Row]) -> list[Row]:
    """The rows with `ratio`: their time over that of the fastest lore_jax row of the same work."""
    fastest: dict[tuple[str, str], float] = {}
    for row in rows:
        if row["method"].startswith("lore_jax") and "seconds" in row:
            work = row["section"], row["work"]
            fastest[work] = min(row["seconds"], fastest.get(work, math.inf))
    return [
        {**row, "ratio": row["seconds"] / fastest[work]} if work in fastest else row
        for row in rows
        for work in [(row["section"], row["work"])]
    ]


def table_of(result: dict[str, Any]) -> str:
    """The rows as a Markdown table under a line that says where they come from."""
    lines = [["work", "method", "seconds", "x lore_jax", ""]]
    for row in result["rows"]:
        amount = f"{row['seconds']:.4g}" if "seconds" in row else f"{row['bytes'] / 1e6:,.0f} MB"
        ratio = f"{row['ratio']:,.3g}" if "ratio" in row else ""
        lines.append([row["work"], row["method"], amount, ratio, row["note"]])
    where = ", ".join(f"{name} {value}" for name, value in result["versions"].items())
    return f"{result['device']}, {result['cores']} cores; {where}\n\n{markdown(lines)}\n"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Runs the sections, prints the table, and writes it with the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("fit", "distinct", "choose", "growth", "adapt", "users", "score")
    names += ("ask", "session", "start", "memory", "embed")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for throughput.json and throughput.md"
    )
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, help="the sections to run"
    )
    parser.add_argument(
        "--users", type=int, nargs="+", help="numbers of users for the section `users`, ascending"
    )
    parser.add_argument("--model", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--data", type=Path, help="folder of the Polis conversations")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    options = parser.parse_args(arguments)
    size = SMOKE if options.smoke else Sizes()
    if options.users:
        size = dataclasses.replace(size, populations=tuple(options.users))
    sections: dict[str, Callable[[], Iterator[Row]]] = {
        "fit": lambda: fit_section(size),
        "distinct": lambda: fit_section(size, distinct=True),
        "choose": lambda: choose_section(size, smoke=options.smoke),
        "growth": lambda: growth_section(size, smoke=options.smoke),
        "adapt": lambda: adapt_section(size),
        "users": lambda: users_section(size),
        "score": lambda: score_section(size),
        "ask": lambda: ask_section(size),
        "session": lambda: session_section(size),
        "start": lambda: start_section(size),
        "memory": lambda: memory_section(size),
        "embed": lambda: embed_section(options.model, options.data, smoke=options.smoke),
    }
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("jax", *["torch"] * HAS_TORCH)}
    versions |= {
        name: os.environ[name] for name in ("GLIBC_TUNABLES", "XLA_FLAGS") if os.environ.get(name)
    }
    result: dict[str, Any] = {
        "device": f"{device.platform} {device.device_kind}",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
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
            print(
                f"{name}: {row['work']}, {row['method']}: {row['note']}",
                file=sys.stderr,
                flush=True,
            )
            write_file(options.out / "throughput.json", [json.dumps(result, indent=1).encode()])
            write_file(options.out / "throughput.md", [table_of(result).encode()])
    print(table_of(result))
    return result


if __name__ == "__main__":
    main()
