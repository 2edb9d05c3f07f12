"""`lore-jax adapt`: weights of new users from a few comparisons each."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.cli.options import UserNames

if TYPE_CHECKING:
    from lore_jax.model.posterior import Posterior
    from lore_jax.users.answering import AnswerPosterior


@dataclasses.dataclass(frozen=True)
class Config:
    """Finds the weights of every user of a cache, with the basis of a run.

    Users without pairs get the population's weights. Where the run has fitted answers of every kind
    as they were said, so are those of the cache taken.

    Attributes:
        model: a run, or a saved model.
        cache: the users' comparisons, over embeddings of the run's encoder.
        out: the folder of the saved model with these users, which `score` takes; new or empty. It
            takes memory for all of them.
        export: the Parquet file of user ids, weights, variances and shots, written part by part:
            without `out` the number of users is not limited by memory.
        weights: the mode, or the mean, which is better to pick replies by and takes longer.
        names: user names.
        overwrite: replace what is there.
    """

    model: Annotated[Path, POSITIONAL]
    cache: Annotated[Path, POSITIONAL]
    out: Path | None = None
    export: Path | None = None
    weights: Literal["mode", "mean"] = "mode"
    names: Annotated[UserNames, FLAT] = dataclasses.field(default_factory=UserNames)
    overwrite: bool = False


def run(config: Config) -> dict[str, object]:
    """Adapts and writes."""
    import numpy as np
    from tqdm import tqdm

    from lore_jax.cli.models import load_model, refuse_other_encoder
    from lore_jax.export.adapt_cache import adapt_cache
    from lore_jax.export.adapt_cache_of_answers import adapt_cache_of_answers, with_users
    from lore_jax.export.parquet import export_weights
    from lore_jax.model.mean_prior import by_mean
    from lore_jax.model.posterior import join
    from lore_jax.model.saved import save
    from lore_jax.storage.cache.manifest import read_manifest
    from lore_jax.storage.files import refuse_existing
    from lore_jax.users.saved_answers import save_answers

    if config.out is None and config.export is None:
        raise ValueError("--out and --export are both missing: nothing would be written")
    if config.export is not None:
        if config.export.suffix != ".parquet":
            raise ValueError(
                f"{config.export} ends in {config.export.suffix!r}: .parquet is expected"
            )
        refuse_existing(config.export, config.overwrite)
    loaded = load_model(config.model)
    refuse_other_encoder(loaded, config.cache)
    manifest, not_converged, model = read_manifest(config.cache), 0, loaded.model
    if config.weights == "mean":
        if loaded.said is not None:
            problem = f"weights is mean, but {loaded.path} has fitted answers as they were said"
            raise ValueError(f"{problem}: only pairs have means, mode is expected")
        model = dataclasses.replace(model, prior=by_mean(model.prior))
    shots: list[np.ndarray] = []
    kept: list[Posterior] = []  # a saved model has all of its users in one place; an export has not
    said: list[AnswerPosterior] = []

    def adapted() -> Iterator[Posterior]:
        if loaded.said is None:
            yield from adapt_cache(model, config.cache)
            return
        for known in adapt_cache_of_answers(loaded.model, loaded.said[0], config.cache):
            if config.out is not None:
                said.append(known)
            yield known.users

    def parts() -> Iterator[Posterior]:
        nonlocal not_converged
        with tqdm(total=manifest["users"], unit=" users", disable=None) as bar:
            for users in adapted():
                if users.user_ids is not None:
                    names = np.array(config.names.apply(users.user_ids))
                    users = dataclasses.replace(users, user_ids=names)
                shots.append(np.asarray(users.shots))
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
        users, encoder = join(kept), loaded.encoder
        options = {"encoder": encoder, "overwrite": config.overwrite}
        if loaded.said is None:
            save(config.out, loaded.model, users, **options)
        else:
            known = with_users(said, users)
            save_answers(config.out, loaded.model, loaded.said[0], known, **options)
    all_shots = np.concatenate(shots)
    return {
        "out": config.out and str(config.out),
        "export": config.export and str(config.export),
        "users": len(all_shots),
        "users_without_pairs": int((all_shots == 0).sum()),
        "unit": "pairs" if loaded.said is None else "answers",
        "pairs": manifest["pairs"] if loaded.said is None else int(all_shots.sum()),
        "median_shots": float(np.median(all_shots)) if len(all_shots) else 0.0,
        "not_converged": not_converged,
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result for people."""
    text = [
        ", ".join(str(path) for path in (result["out"], result["export"]) if path),
        f"  {result['users']:,} users adapted on {result['pairs']:,} {result['unit']}, the median "
        f"user on {result['median_shots']:g}",
    ]
    if count := result["users_without_pairs"]:
        text.append(f"  {count:,} users without {result['unit']} have the population's weights")
    if count := result["not_converged"]:
        text.append(f"  {count:,} users did not converge; see `converged` in the export")
    return text
