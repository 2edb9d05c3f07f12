"""The options of the experiments on published data, and what follows: data, embeddings, fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

import lore_jax as lore
from experiments.common.fits import (
    REFERENCE_HEAD,
    paper_objective,
    population_model,
    ridge_bradley_terry,
)
from experiments.common.smoke_data import write_prism
from experiments.common.tiny_model import write_reward_model
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy
from lore_jax.datasets.formats.rows import TextPairs
from lore_jax.datasets.prism import read_prism
from lore_jax.evaluation import names
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options that the experiments on published data share.

    Attributes:
        out: where to write.
        data: the data set's folder, or its name on the Hugging Face hub to fetch it (not with
            --smoke).
        model: the folder of the reward model that embeds it; not needed where the cache is there
            already.
        cache: the embeddings; None: OUT/cache. `lore-jax embed` and earlier runs make them.
        paper: the paper's setting to the letter, instead of the validated one: no validation, no
            controls, no ridge.
        splits: how many times users are split; None: 20 as in the paper, or 5.
        rank: columns of the basis in the paper's objective; the paper chooses among 2 to 50.
        scale: what raw embeddings are multiplied by for the paper's objective: 1 for a reward
            model's hidden states, 30 for unit rows.
        seed: seed of everything.
        smoke: synthetic files of the published schema, a tiny random reward model, fits of a few
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
    def basis_rank(self) -> int:
        """Columns of the basis in the paper's objective."""
        return 2 if self.smoke else self.rank

    @property
    def num_splits(self) -> int:
        """How many splits are drawn."""
        return self.splits or (1 if self.smoke else 20 if self.paper else 5)


def fits(options: Options, *, group_by: GroupBy = "prompt") -> dict[str, lore.FitConfig]:
    """What is compared: the paper's three fits, or four with ours chosen on validation.

    Args:
        options: of the experiment.
        group_by: what validation folds do not cut.

    Returns:
        Names of methods to what is fitted.
    """
    smoke = options.smoke
    paper = paper_objective(rank=options.basis_rank, scale=options.scale, smoke=smoke)
    if options.paper:
        bradley_terry = paper_objective(rank=1, scale=options.scale, smoke=smoke)
        return {names.REFERENCE_HEAD: REFERENCE_HEAD, "BT": bradley_terry, "LoRe": paper}
    return {
        names.REFERENCE_HEAD: REFERENCE_HEAD,
        names.RIDGE_BT: ridge_bradley_terry(group_by=group_by, smoke=smoke),
        "LoRe": paper,
        names.GAUSSIAN: population_model(group_by=group_by, smoke=smoke),
    }


def data_of(options: Options, write: Callable[[Path], None], home: str) -> str:
    """Where the data are: as given, or synthetic files written for --smoke."""
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


def cache_of(cache: Path | None, out: Path, *, smoke: bool) -> Path:
    """A cache of comparisons: as given, or synthetic ones, embedded for --smoke.

    Raises:
        FileNotFoundError: there is none.
    """
    if cache is None and smoke:
        folder = Path(data_of(Options(out=out, smoke=True), write_prism, ""))
        embedded(read_prism(folder).pairs, Options(out=out, smoke=True))
        return out / "cache"
    if cache is None:
        raise FileNotFoundError("CACHE is missing: the folder of an embedding cache is expected")
    return cache


def embedded(pairs: TextPairs, options: Options) -> Preferences:
    """The pairs over their embeddings, from the cache if it exists, else embedded now.

    Raises:
        FileNotFoundError: there is neither a cache nor a model.
        ValueError: the cache holds other pairs.
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


def describe(options: Options, counts: Mapping[str, int]) -> dict[str, object]:
    """What made the embeddings and what was left out of the pairs, for the results."""
    return {
        "encoder": read_manifest(options.cache or options.out / "cache")["encoder"],
        "counts": dict(counts),
    }


def settings_of(options: Options) -> dict[str, object]:
    """The options that change a part's numbers: no paths, nor the number of splits."""
    paths_and_splits = ("out", "data", "model", "cache", "splits", "seed")
    values = dataclasses.asdict(options)
    return {name: value for name, value in values.items() if name not in paths_and_splits}
