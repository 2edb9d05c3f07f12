"""How the results were made: data, choices, machine, splits, configuration."""

from __future__ import annotations

from lore_jax.evaluation.schema import Results, SplitEntry
from lore_jax.reporting.html import details, facts, flat, html_table


def provenance(results: Results) -> list[str]:
    """How the results were made: data, choices, machine, splits, configuration."""
    machine = results["machine"]
    installed = [f"{name} {version}" for name, version in machine["packages"].items() if version]
    head = ["data", "split", "tested on", "seen users", "unseen users", "left out", "digest"]
    splits = html_table([head, *map(_split_cells, results["splits"])])
    made = [
        ("run", results["name"]),
        ("seed", results["seed"]),
        *_run_facts(results),
        ("machine", f"{machine['devices']} x {machine['device']}"),
        ("versions", ", ".join([f"Python {machine['python']}", *installed])),
    ]
    return [
        "<section><h2>How it was made</h2>",
        facts(made),
        *details(f"Splits ({len(results['splits'])})", splits),
        *details("Configuration", facts(flat(results["config"]))),
        "</section>",
    ]


def _run_facts(results: Results) -> list[tuple[str, object]]:
    if "run" not in results:
        return []
    data = results["run"]["data"]
    choice = ", ".join(f"{name} {value:g}" for name, value in results["run"]["choice"].items())
    return [
        ("cache", data["cache"]),
        ("encoder", data["encoder"].get("model", "unnamed")),
        ("table", f"{data['responses']:,} responses, dim {data['dim']}, {data['dtype']}"),
        ("pairs", f"{data['pairs']:,} by {data['users']:,} users"),
        ("chosen on validation, or given", choice),
    ]


def _split_cells(entry: SplitEntry) -> list[str]:
    dropped = entry["dropped"].items()
    return [
        entry["data"],
        str(entry["split"]),
        " and ".join(entry["items"]),
        f"{len(entry['users'].get('seen', [])):,}",
        f"{len(entry['users'].get('unseen', [])):,}",
        ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in dropped),
        entry["digest"][:12],
    ]
