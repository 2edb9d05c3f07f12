"""`lore-jax adapt`: weights of new users from a few comparisons each."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.cli.options import UserNames

if TYPE_CHECKING:
    from lore_jax.model.posterior import Posterior


@dataclasses.dataclass(frozen=True)
class Config:
    """Finds the weights of every user of a cache, with the basis of a run; users without pairs are
    the population.

    Attributes:
        model: a run, or a saved model.
        cache: the users' comparisons, over embeddings of the run's encoder.
        out: the folder of the saved model with these users, which `score` takes; new or empty. It
            takes memory for all of them.
        export: write user ids, weights, variances and shots to this Parquet file, part by part:
            without `out` the number of users is not limited by memory.
        names: user names, in what is written.
        overwrite: replace what is there.
    """

    model: Annotated[Path, POSITIONAL]
    cache: Annotated[Path, POSITIONAL]
    out: Path | None = None
    export: Path | None = None
    names: Annotated[UserNames, FLAT] = dataclasses.field(default_factory=UserNames)
    overwrite: bool = False


def run(config: Config) -> dict[str, Any]:
    """Adapts, writes and says how it went."""
    import numpy as np
    from tqdm import tqdm

    from lore_jax.cli.models import load_model, refuse_other_encoder
    from lore_jax.export.adapt_cache import adapt_cache
    from lore_jax.export.parquet import export_weights
    from lore_jax.model.posterior import join
    from lore_jax.storage.cache.manifest import read_manifest

    if config.out is None and config.export is None:
        raise ValueError("--out and --export are both missing: the users would be lost")
    loaded = load_model(config.model)
    refuse_other_encoder(loaded, config.cache)
    if config.export is not None and config.export.exists() and not config.overwrite:
        raise FileExistsError(
            f"{config.export} is there already: overwrite it explicitly or choose another file"
        )
    manifest = read_manifest(config.cache)
    shots: list[np.ndarray] = []
    kept: list[Posterior] = []  # a saved model has all of its users in one place; an export has not
    not_converged = 0

    def parts() -> Iterator[Posterior]:
        nonlocal not_converged
        with tqdm(total=manifest["users"], group_by=" users", disable=None) as bar:
            for users in adapt_cache(loaded.model, config.cache):
                if users.user_ids is not None:
                    users = dataclasses.replace(
                        users, user_ids=np.array(config.names.apply(users.user_ids))
                    )
                shots.append(users.shots)
                not_converged += int((~users.converged).sum())
                if config.out is not None:
                    kept.append(users)
                yield users
                bar.update(users.num_users)

    if config.export is not None:
        export_weights(config.export, parts(), overwrite=config.overwrite)
    else:
        collections.deque(parts(), maxlen=0)
    if config.out is not None:
        from lore_jax.model.saved import save

        save(
            config.out, loaded.model, join(kept), encoder=loaded.encoder, overwrite=config.overwrite
        )
    of_users = np.concatenate(shots)
    return {
        "out": None if config.out is None else str(config.out),
        "export": None if config.export is None else str(config.export),
        "users": len(of_users),
        "users_without_pairs": int((of_users == 0).sum()),
        "pairs": manifest["pairs"],
        "median_shots": float(np.median(of_users)) if len(of_users) else 0.0,
        "not_converged": not_converged,
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
        said.append(
            f"  {result['not_converged']:,} users did not converge; see `converged` in the export"
        )
    return said
