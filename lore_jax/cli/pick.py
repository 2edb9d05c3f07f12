"""`lore-jax pick`: the reply that each user gets, or one for all of them, and how sure that is."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lore_jax.cli.arguments import POSITIONAL

if TYPE_CHECKING:
    import jax
    import numpy as np

    from lore_jax.model.model import Model
    from lore_jax.model.posterior import Posterior


@dataclasses.dataclass(frozen=True)
class Config:
    """Picks one of the candidate replies to each prompt, for every user or for all of them.

    For every user: the pick, what it is expected to be better than the population's (gain, in
    logits), the probabilities that it is, and that it is the user's best, and the regret expected.
    For all of them (--together): the pick by each rule of social choice, and how often it wins
    within what is not known; one that wins in less than 90 % of the draws is noise.

    Attributes:
        model: a run, or a saved model (of `adapt`), with users.
        candidates: a cache, an array or rows of texts, as for `score`.
        encoder: for texts, the folder of the model that embedded what the fit was made of.
        out: the .parquet or .jsonl file to write.
        together: one reply for all users, or for those that a row of texts names.
        rule: mean: the highest expected reward; lower bound: less `caution` standard deviations;
            Thompson: the highest of one draw, which explores.
        caution: of the lower bound, in standard deviations.
        confidence: the population's pick stays unless another is better with this probability.
        draws: of the model, for probabilities and regret.
        seed: of the draws.
        overwrite: replace a file that is there.
    """

    model: Annotated[Path, POSITIONAL]
    candidates: Annotated[Path, POSITIONAL]
    out: Path
    encoder: Path | None = None
    together: bool = False
    rule: Literal["mean", "lower bound", "Thompson"] = "mean"
    caution: float = 0.25
    confidence: float = 0.0
    draws: int = 256
    seed: int = 0
    overwrite: bool = False


def run(config: Config) -> dict[str, object]:
    """Picks, and writes the file."""
    import jax
    import numpy as np

    from lore_jax.cli.candidate_sets import read_candidates, refuse_target, write_rows
    from lore_jax.cli.models import load_model
    from lore_jax.steering.best_of_n import BestOfN

    refuse_target(config.out, overwrite=config.overwrite)
    how = BestOfN(config.rule, config.caution, config.confidence, config.draws)
    if config.together and how != BestOfN(draws=config.draws):
        raise ValueError(
            "rule, caution or confidence is given with --together, which picks by every rule of "
            "social choice: neither is expected"
        )
    if config.seed < 0:
        raise ValueError(f"seed is {config.seed}: 0 or more is expected")
    loaded = load_model(config.model)
    candidates = read_candidates(config.candidates, loaded, config.encoder)
    users, names, table, sets, replies = candidates
    parts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for number, (rows, own) in enumerate(sets):
        some = users if own is None else users.take(own)
        key = jax.random.fold_in(jax.random.key(config.seed), number)
        if config.together:
            picked = _together(loaded.model, some, table[rows], config.draws, key)
        else:
            picked = {"user_id": names if own is None else names[own]}
            picked |= _each(loaded.model, some, table[rows], how, key)
        count = len(picked["response"])
        picked["response"] = rows[picked["response"]]
        picked["prompt"] = np.full(count, number, np.int32)
        for name, values in picked.items():
            parts[name].append(values)
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    write_rows(config.out, columns, replies)
    sure = columns["decided"] if config.together else ~columns["is_population"]
    return {
        "out": str(config.out),
        "together": config.together,
        "users": users.num_users,
        "candidates": table.shape[0],
        "prompts": len(sets),
        "rows": len(columns["response"]),
        "share": float(sure.mean()),
    }


def _each(
    model: Model, users: Posterior, table: np.ndarray, how: object, key: jax.Array
) -> dict[str, np.ndarray]:
    """The pick of each user; `response` is its position."""
    import numpy as np

    from lore_jax.steering.best_of_n import best_of_n

    picks = best_of_n(model, users, table, None, how, key=key)  # pyright: ignore[reportArgumentType]
    at = np.arange(users.num_users), picks.pick
    return {
        "response": picks.pick,
        "is_population": picks.is_population,
        "gain": picks.gain[at],
        "probability_better": picks.probability_better,
        "probability_best": picks.probability_best[at],
        "expected_regret": picks.expected_regret,
    }


def _together(
    model: Model, users: Posterior, table: np.ndarray, draws: int, key: jax.Array
) -> dict[str, np.ndarray]:
    """The pick by each rule; `response` is its position."""
    import numpy as np

    from lore_jax.steering.groups import GROUP_RULES, pick_for_group

    verdict = pick_for_group(model, users, table, draws=draws, key=key)
    return {
        "rule": np.array(GROUP_RULES),
        "response": verdict.pick,
        "wins": 1.0 - verdict.changes,
        "decided": verdict.decided(),
        "is_population": verdict.pick == verdict.population,
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result for people."""
    share = f"{100.0 * float(result['share']):.0f} %"  # pyright: ignore[reportArgumentType]
    about = f"{share} of the picks are another reply than the population's"
    if result["together"]:
        about = f"{share} of the verdicts are decided: the pick wins in 90 % of the draws or more"
    return [
        f"{result['out']}: {result['rows']:,} rows",
        f"  {result['candidates']:,} candidates to {result['prompts']:,} prompts "
        f"for {result['users']:,} users",
        f"  {about}",
    ]
