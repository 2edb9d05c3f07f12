"""`lore-jax adapt`: weights of new users from a few comparisons each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from lore_jax.commands.options import UserNames


@dataclasses.dataclass(frozen=True)
class Config:
    """Finds the weights of every user of a cache, with the basis of a run; users without pairs are the population.

    Attributes:
        model: a run, or a saved model.
        cache: the users' comparisons, over embeddings of the run's encoder.
        out: the folder of the saved model with these users, which `score` takes; new or empty.
        export: also write user ids, weights, variances and shots to this Parquet file.
        names: user names, in what is written.
        overwrite: replace what is there.
    """

    model: Annotated[Path, tyro.conf.Positional]
    cache: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    export: Path | None = None
    names: Annotated[UserNames, tyro.conf.arg(name="")] = dataclasses.field(default_factory=UserNames)
    overwrite: bool = False


def run(config: Config) -> dict[str, Any]:
    """Adapts, saves and says how it went."""
    import numpy as np

    from lore_jax.adapt import adapt
    from lore_jax.cache import load_cache
    from lore_jax.commands.models import load_model, refuse_other_encoder
    from lore_jax.export import export_weights
    from lore_jax.saved_model import save

    if config.out is None and config.export is None:
        raise ValueError("--out and --export are both missing: the users would be lost")
    loaded = load_model(config.model)
    refuse_other_encoder(loaded, config.cache)
    prefs = load_cache(config.cache)
    if config.export is not None and config.export.exists() and not config.overwrite:
        raise FileExistsError(f"{config.export} is there already: overwrite it explicitly or choose another file")
    users = adapt(loaded.model, prefs)
    if prefs.user_ids is not None:
        users = dataclasses.replace(users, user_ids=np.array(config.names.apply(prefs.user_ids)))
    if config.out is not None:
        save(config.out, loaded.model, users, encoder=loaded.encoder, overwrite=config.overwrite)
    if config.export is not None:
        export_weights(config.export, users, overwrite=config.overwrite)
    return {
        "out": None if config.out is None else str(config.out),
        "export": None if config.export is None else str(config.export),
        "users": users.num_users,
        "users_without_pairs": int((users.shots == 0).sum()),
        "pairs": prefs.num_pairs,
        "median_shots": float(np.median(users.shots)) if users.num_users else 0.0,
        "not_converged": int((~users.converged).sum()),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    without = result["users_without_pairs"]
    said = [
        ", ".join(place for place in (result["out"], result["export"]) if place),
        f"  {result['users']:,} users adapted on {result['pairs']:,} pairs, the median user on "
        f"{result['median_shots']:g}",
    ]
    if without:
        said.append(f"  {without:,} users without pairs are the population")
    if result["not_converged"]:
        said.append(f"  {result['not_converged']:,} users did not converge; see `converged` in the export")
    return said
