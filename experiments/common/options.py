"""What every experiment on published data is told, and what follows from it: the data, their
embeddings, the fits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lore_jax as lore
from experiments.common.tiny_model import write_reward_model
from lore_jax.data.preferences import Preferences
from lore_jax.datasets.formats.rows import TextPairs
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What every experiment is told.

    Attributes:
        out: where to write.
        data: the data set's folder, or its name on the Hugging Face hub to fetch it (not with
            --smoke).
        model: the folder of the reward model that embeds it; not needed where the cache is there
            already.
        cache: the embeddings; None: OUT/cache. `lore-jax embed` and earlier runs make them.
        paper: the paper's setting to the letter, instead of the honest one: no validation, no
            controls, no ridge.
        splits: how many times users are split; None: 20 as in the paper, or 5.
        rank: columns of the basis in the paper's objective; the paper chooses among 2 to 50.
        scale: what raw embeddings are multiplied by for the paper's objective: 1 for a reward
            model's hidden states, 30 for unit rows.
        seed: seed of everything.
        smoke: made-up files of the published schema, a tiny random reward model, fits of a few
            steps.
    """

    out: Path
    data: str | None = None
    model: Path | None = None
    cache: Path | None = None
    paper: bool = False
    splits: int | None = None
    rank: int = 10
    scale: float = 1.0
    seed: int = 0
    smoke: bool = False

    @property
    def num_splits(self) -> int:
        """How many splits are drawn."""
        return self.splits or (1 if self.smoke else 20 if self.paper else 5)


def fits(options: Options) -> dict[str, lore.FitConfig]:
    """What is compared: the paper's three, or the honest four with everything of ours chosen on
    validation.
    """
    simplex = lore.SimplexConfig(scale=options.scale, steps=10 if options.smoke else 1000)
    paper = dataclasses.replace(
        lore.PAPER, rank=2 if options.smoke else options.rank, simplex=simplex
    )
    head = lore.FitConfig(rank=0)
    if options.paper:
        return {"reference head": head, "BT": dataclasses.replace(paper, rank=1), "LoRe": paper}
    ridge, gaussian = (
        dataclasses.replace(one, group_by="prompt")
        for one in (lore.RIDGE_BRADLEY_TERRY, lore.FitConfig())
    )
    if options.smoke:
        given = {
            "ridge_population": 10.0,
            "ridge_deviation": 3.0,
            "num_components": 0,
            "logit_scale": 1.0,
        }
        short = lore.PopulationConfig(steps=5)
        ridge = dataclasses.replace(ridge, **given)
        gaussian = dataclasses.replace(
            gaussian, rank=2, item_effects=0.0, population=short, **given
        )
    return {"reference head": head, "ridge BT": ridge, "LoRe": paper, "gaussian": gaussian}


def data_of(options: Options, write: Callable[[Path], None], home: str) -> str:
    """Where the data are: as told, or made up for --smoke."""
    if not options.smoke:
        if options.data is None:
            raise FileNotFoundError(
                f"--data is missing: the data set's folder, or {home!r} to fetch it from the hub"
            )
        return options.data
    folder = options.out / "data"
    if not folder.exists():
        write(folder)
    return str(folder)


def embedded(pairs: TextPairs, options: Options) -> Preferences:
    """The pairs over their embeddings: from the cache if it is there (and holds these very pairs),
    else embedded now.
    """
    cache = options.cache or options.out / "cache"
    if not cache.exists():
        folder = write_reward_model(options.out / "model") if options.smoke else options.model
        if folder is None:
            raise FileNotFoundError(
                f"{cache} is not there, and --model is missing: the reward model to embed with"
            )
        from lore_jax.embed import EmbedConfig, embed_pairs

        embed_pairs(pairs, folder, cache, EmbedConfig(batch_tokens=1024 if options.smoke else None))
    prefs = load_cache(cache, verify="quick")
    in_file = np.argsort(prefs.row)
    same = prefs.num_pairs == len(pairs.user) and prefs.num_responses == len(pairs.responses)
    same = same and all(
        np.array_equal(getattr(prefs, name)[in_file], getattr(pairs, name))
        for name in ("chosen", "rejected", "user")
    )
    if not same or list(read_texts(cache)) != [tuple(response) for response in pairs.responses]:
        raise ValueError(
            f"{cache} was made of other data: remove it, or give another --out or --cache"
        )
    return prefs


def describe(options: Options, counts: Mapping[str, int]) -> dict[str, Any]:
    """What made the embeddings and what was left out of the pairs, for the results."""
    return {
        "encoder": read_manifest(options.cache or options.out / "cache")["encoder"],
        "counts": dict(counts),
    }


def settings_of(options: Options) -> dict[str, Any]:
    """The options that change numbers: not where files are, nor how many splits are drawn of the
    same kind.
    """
    values = dataclasses.asdict(options)
    return {
        name: value
        for name, value in values.items()
        if name not in ("out", "data", "model", "cache", "splits", "seed")
    }
