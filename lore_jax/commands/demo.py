"""`lore-jax demo`: everything at once, on made-up people."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Config:
    """Makes up people and responses, fits, adapts to new people after some shots, and says whether that helped.

    Nothing is written. Everything about the made-up people is known, so the table has a line for an oracle that knows
    the planted basis.

    Attributes:
        users: how many people.
        pairs: comparisons of each.
        dim: the length of an embedding.
        rank: directions in which people differ, the one they share included.
        spread: how much they differ; 0: not at all.
        seed: seed of everything.
    """

    users: int = 300
    pairs: int = 45
    dim: int = 64
    rank: int = 4
    spread: float = 1.0
    seed: int = 0


def run(config: Config) -> dict[str, Any]:
    """Simulates, fits, evaluates."""
    import time

    import jax

    from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
    from lore_jax.evaluate import Method, adapting, cells, evaluate, method
    from lore_jax.fit import fit
    from lore_jax.fit_config import FitConfig
    from lore_jax.four_way import four_way
    from lore_jax.results import describe_split, make_results
    from lore_jax.tables import method_lines, shots_columns, table
    from lore_jax.verdict import verdict

    begun = time.monotonic()
    people = SyntheticConfig(
        num_users=config.users,
        pairs_per_user=(config.pairs, config.pairs),
        dim=config.dim,
        rank=config.rank,
        spread=config.spread,
    )
    truth = synthetic(people, seed=config.seed)
    split = four_way(truth.prefs, units=("unseen",), seed=config.seed)
    # Ridges are given, so that nobody waits for their choice.
    given = FitConfig(rank=config.rank + 1, ridge_population=3.0, ridge_deviation=10.0, response_terms=0.0)
    model, users, _ = fit(split.train, given, key=jax.random.key(config.seed))
    fitted = time.monotonic()
    methods = {"gaussian": method(model, users), "oracle": Method(adapting(truth.model))}
    unseen = [cell for cell in cells(split) if cell.users == "unseen"]
    rows = evaluate(methods, unseen, shots=(0, 5, 10, 20), seed=config.seed)
    entry = describe_split(
        {"seen": split.seen_users, "unseen": split.unseen_users}, units=("unseen",), unit="prompt", digest=split.digest
    )
    results = make_results(rows, [entry], name="demo", config=config, seed=config.seed)
    return {
        "train_pairs": split.train.num_pairs,
        "seen_users": split.train.num_users,
        "unseen_users": split.shots.num_users,
        "seconds_fit": round(fitted - begun, 1),
        "seconds": round(time.monotonic() - begun, 1),
        "table": table(results, method_lines(results), shots_columns(results)),
        "verdict": verdict(results, "gaussian"),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    return [
        f"{result['train_pairs']:,} comparisons by {result['seen_users']:,} made-up people fitted in "
        f"{result['seconds_fit']:g} s, most of it compiling",
        f"accuracy for {result['unseen_users']:,} new people on new prompts, in points:",
        "",
        *result["table"].splitlines(),
        "",
        result["verdict"]["sentence"],
    ]
