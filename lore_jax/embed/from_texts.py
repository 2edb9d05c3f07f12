"""from_texts: comparisons of texts, wherever they are, become preferences in one call."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from tqdm import tqdm

from lore_jax.data.checks import first_not_finite
from lore_jax.data.encoder_identity import identity_of
from lore_jax.data.preferences import Preferences
from lore_jax.datasets.formats.feedback import HowToRead, holds_index_rows, read_text_feedback
from lore_jax.datasets.formats.in_memory import RowsInMemory, rows_in_memory
from lore_jax.datasets.formats.records import BadRows
from lore_jax.datasets.formats.rows import Response, TextPairs
from lore_jax.embed.hub import fetch_model
from lore_jax.embed.left_out import embeddable
from lore_jax.embed.pairs import conversations_of, digest_of, embed_pairs
from lore_jax.embed.render import prepare
from lore_jax.embed.text_encoder import TextEncoder, load_encoder
from lore_jax.embed.texts import embed_conversations
from lore_jax.storage.cache.manifest import MANIFEST, read_manifest
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.cache.writer import CacheWriter

Encode = Callable[[list[str]], npt.ArrayLike]
_TEXTS_AT_A_TIME = 512
_ROWS_A_SHARD = 4096  # the most rows that a killed call embeds again
_BETWEEN_TURNS = "\n\n"


def from_texts(
    source: Any,
    encode: Encode | str | os.PathLike[str] | TextEncoder,
    *,
    cache: str | os.PathLike[str] | None = None,
    encoder: str | None = None,
    max_pairs: int = 60,
    seed: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> Preferences:
    """Reads comparisons or ratings of texts, embeds each distinct response once.

    Rows are those of the command line: user_id, prompt, chosen, rejected (texts or messages, as in
    TRL), or one rated response a row (user_id, prompt, completion, label or rating), of which pairs
    are made.

    Args:
        source: a pandas or Polars frame, a `datasets.Dataset`, an Arrow table, a list of
            dictionaries; or a path: JSONL, Parquet, CSV, Arrow, or a folder of `save_to_disk`.
        encode: texts to their embeddings `[texts, dim]`, any callable: the `encode` of a
            sentence-transformers model, an API. A prompt's turns and its reply are one text, joined
            by empty lines. Or a model: its folder, its name on the Hugging Face hub, or what
            `load_encoder` made, which also writes conversations by its chat template.
        cache: a folder to keep everything in, for `lore-jax fit` and for the next call, which
            embeds nothing that is there; a killed call goes on where it was.
        encoder: with a cache, what a callable is called: a run refuses embeddings of others.
        max_pairs: of ratings, the most pairs drawn for a user.
        seed: of ratings, seed of the draws.
        skip_bad: skip rows that are not what they should be, or whose replies a model that is run
            here cannot read whole.
        progress: a progress bar, where there is a terminal.

    Returns:
        The preferences; a response's row is the order in which it first appears.

    Raises:
        FileNotFoundError: there is no such file or model.
        FileExistsError: the cache holds other texts, or those of another encoder.
        ValueError: a row is not what it should be; or `encode` returned something else than one
            finite embedding a text.

    Example:
        >>> rows = [{"user_id": "ann", "prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}]
        >>> from_texts(rows, lambda texts: [[len(text), 1.0] for text in texts])
        Preferences(1 pairs, 1 users, 1 prompts, 2 responses, dim 2, float32)
    """
    rows = source if isinstance(source, str | os.PathLike) else rows_in_memory(source)
    how = HowToRead(BadRows(skip=skip_bad), seed, max_pairs)
    if holds_index_rows(rows, how):
        name = rows if isinstance(rows, RowsInMemory) else Path(rows)
        raise ValueError(
            f"{name} names rows of a table and holds no texts: use from_arrays or from_dataframe"
        )
    pairs = read_text_feedback(rows, how)
    if callable(encode):
        if cache is None:
            tables = list(_embeddings(pairs.responses, encode, progress=progress))
            return pairs.preferences(np.concatenate(tables))
        if encoder is None:
            raise ValueError(
                "cache is given, but not what encode is called: encoder='its name' is expected, so "
                "that a run can refuse embeddings of another"
            )
        if not encoder.strip():
            raise ValueError("encoder is empty: what encode is called is expected")
        return _cached(pairs, encode, Path(cache), {"model": encoder}, progress=progress)
    if encoder is not None:
        raise ValueError(f"encoder is {encoder!r}, but encode is a model, which has a name: None")
    model = encode if isinstance(encode, TextEncoder) else load_encoder(_model_folder(encode))
    pairs = embeddable(pairs, model.renderer, how.bad)
    if cache is not None:
        kept = _kept(pairs, Path(cache), model.describe())
        return load_cache(embed_pairs(pairs, model, cache).path) if kept is None else kept
    conversations = conversations_of(pairs)
    labels = [f"response {number}" for number in range(len(conversations))]
    prepared = prepare(conversations, model.renderer, labels)
    tables = list(embed_conversations(prepared.conversations, model, labels, progress=progress))
    prefs = pairs.preferences(np.concatenate(tables), head=model.head)
    return dataclasses.replace(prefs, encoder=identity_of(model.describe()))


def _model_folder(name: str | os.PathLike[str]) -> Path:
    """A model's folder, or that of its files from the hub: no code, no pickled weights."""
    if not isinstance(name, str | os.PathLike) or not str(name):
        expected = "a function of texts, a model's folder, or owner/name of one on the hub"
        raise ValueError(f"encode is {name!r}: {expected}, is expected")
    if Path(name).exists():
        return Path(name)
    return fetch_model(str(name))


def _cached(
    pairs: TextPairs, encode: Encode, cache: Path, encoder: dict[str, object], *, progress: bool
) -> Preferences:
    kept = _kept(pairs, cache, encoder)
    if kept is not None:
        return kept
    digest, first = digest_of(pairs), pairs.responses[:1]
    dim = next(_embeddings(first, encode, progress=False)).shape[1]
    options = {"dtype": np.float32, "encoder": encoder, "inputs": digest}
    with CacheWriter(cache, dim=dim, shard_bytes=_ROWS_A_SHARD * dim * 4, **options) as writer:
        for rows in _embeddings(pairs.responses, encode, writer.rows_done, progress=progress):
            writer.append(rows)
        writer.finish(**pairs.cache_columns(), texts=pairs.responses, extra=pairs.extra or None)
    return load_cache(cache)


def _kept(pairs: TextPairs, cache: Path, encoder: dict[str, object]) -> Preferences | None:
    """What a cache holds, if it is this; None: there is no cache yet."""
    if not (cache / MANIFEST).exists():
        return None
    manifest, known = read_manifest(cache), load_cache(cache)
    if manifest["inputs"] == digest_of(pairs) and dict(manifest["encoder"]) == encoder:
        asked = pairs.preferences(known.embeddings)
        names = ("chosen", "rejected", "user", "prompt", "pair_weight", "user_ids")
        if all(np.array_equal(getattr(asked, name), getattr(known, name)) for name in names):
            return known
    raise FileExistsError(
        f"{cache} holds other comparisons, or embeddings of another encoder: choose another folder"
    )


def _embeddings(
    responses: Sequence[Response], encode: Encode, first: int = 0, *, progress: bool
) -> Iterator[Float[np.ndarray, "_ dim"]]:
    """Embeddings of the responses from `first` on, some at a time, each checked."""
    dim = None
    bar = {"desc": "embedding", "unit": "text", "disable": None if progress else True}
    with tqdm(total=len(responses), initial=first, **bar) as shown:
        for start in range(first, len(responses), _TEXTS_AT_A_TIME):
            part = responses[start : start + _TEXTS_AT_A_TIME]
            texts = [_text(response) for response in part]
            rows = _rows(encode(texts))
            if rows.dtype.kind not in "fiu" and rows.dtype.name != "bfloat16":
                raise ValueError(f"encode returned {rows.dtype}: numbers are expected")
            if rows.ndim != 2 or len(rows) != len(texts) or (dim or rows.shape[1]) != rows.shape[1]:
                expected = f"[{len(texts)}, {dim or 'dim'}], one row a text, is expected"
                raise ValueError(f"encode returned {list(rows.shape)}: {expected}")
            dim, rows = rows.shape[1], rows.astype(np.float32)
            if entry := first_not_finite(rows):
                text = texts[entry[0]][:60]
                raise ValueError(f"encode returned {rows[entry]} for the text {text!r}: not finite")
            shown.update(len(texts))
            yield rows


def _rows(returned: npt.ArrayLike) -> np.ndarray:
    try:
        return np.asarray(returned)
    except ValueError:  # NumPy's own words name no culprit
        expected = "[texts, dim], one row a text, is expected"
        raise ValueError(f"encode returned rows of different lengths: {expected}") from None


def _text(response: Response) -> str:
    """As the library's own encoders without a chat template write it."""
    return _BETWEEN_TURNS.join([*(turn["content"] for turn in response.prompt), response.reply])
