"""Answers of every kind in a cache: one file of arrays beside the pairs that they make."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Shaped

from lore_jax.data.answer_kinds import Kind, KindName
from lore_jax.data.feedback import Answers, Feedback, answers, from_answers
from lore_jax.storage.cache.manifest import ANSWERS, read_manifest
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.files import Verify
from lore_jax.storage.safetensors import map_tensor, read_header

_COLUMNS = ("items", "outcome", "user", "prompt", "weight")


def answer_tensors(blocks: Sequence[Answers]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of answers under names that say their kind, `ranking-4-0-3.items`.

    Example:
        >>> sorted(answer_tensors(feedback.blocks[:1]))
        ['pair-2-2-0.items', 'pair-2-2-0.outcome', 'pair-2-2-0.prompt', ...]
    """
    tensors = {}
    for block in blocks:
        kind = block.kind
        name = f"{kind.name}-{kind.num_items}-{kind.levels}-{kind.places}"
        for column in _COLUMNS:
            tensors[f"{name}.{column}"] = np.ascontiguousarray(getattr(block, column))
    return tensors


def answer_kinds(path: str | os.PathLike[str]) -> list[Kind]:
    """The kinds of answers that a cache holds as they were said; none where it holds pairs alone.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: its manifest, or the header of its answers, is corrupt.

    Example:
        >>> list(map(str, answer_kinds("cache")))  # doctest: +SKIP
        ['ratings 1-5']
    """
    if all(entry["name"] != ANSWERS for entry in read_manifest(path)["files"]):
        return []
    names = {name.partition(".")[0] for name in read_header(Path(path) / ANSWERS)}
    return [_kind(name) for name in sorted(names)]


def load_feedback(path: str | os.PathLike[str], *, verify: Verify = "full") -> Feedback:
    """Loads the answers of a cache as they were said, over its table.

    Args:
        path: the folder.
        verify: "full" checks the sha256 of every file, "quick" only sizes and headers of shards.

    Returns:
        The `Feedback`; of a cache of pairs alone, the pairs.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: a file is corrupt (the message says which), or of another format version.

    Example:
        >>> feedback = load_feedback("cache")  # doctest: +SKIP
    """
    folder, prefs = Path(path), load_cache(path, verify=verify)
    options = {"num_users": prefs.num_users, "user_ids": prefs.user_ids, "head": prefs.head}
    if all(entry["name"] != ANSWERS for entry in read_manifest(path)["files"]):
        items = np.stack([prefs.chosen, prefs.rejected], axis=1)
        pair = Kind("pair", 2, levels=2)
        weight = np.asarray(prefs.pair_weight)
        blocks = [answers(pair, items, prefs.user, prompt=prefs.prompt, weight=weight)]
    else:
        names = {name.partition(".")[0] for name in read_header(folder / ANSWERS)}
        blocks = [_block(folder / ANSWERS, name) for name in sorted(names)]
    feedback = from_answers(prefs.embeddings, blocks, **options)
    return dataclasses.replace(feedback, encoder=prefs.encoder)


def _kind(name: str) -> Kind:
    said, *sizes = name.split("-")
    return Kind(cast(KindName, said), *map(int, sizes))


def _block(file: Path, name: str) -> Answers:
    kind = _kind(name)
    columns = {column: np.asarray(map_tensor(file, f"{name}.{column}")) for column in _COLUMNS}
    by_level = kind.levels > 0 and kind.name != "pair"
    outcome = columns.pop("outcome")
    return answers(kind, **columns, outcome=outcome if by_level else None)
