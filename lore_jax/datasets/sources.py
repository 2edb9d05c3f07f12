"""Comparisons with embeddings that exist already: what a cache is made of.

Comparisons are a file of rows (of texts, or of rows of a table; ratings become comparisons) or
folders of Polis conversations;
embeddings are an array or the table of an earlier cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from lore_jax.datasets.formats.arrays import load_embeddings
from lore_jax.datasets.formats.feedback import (
    HowToRead,
    holds_index_rows,
    read_index_feedback,
    read_text_feedback,
)
from lore_jax.datasets.formats.records import BadRows
from lore_jax.datasets.formats.rows import IndexPairs
from lore_jax.datasets.polis.pairs import polis_text_pairs
from lore_jax.datasets.polis.votes import PolisEmbeddings, Votes, load_polis_embeddings, read_polis
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts

# (prompt, reply) of each response; a prompt is a text or a list of messages.
Texts = Sequence[tuple[str | list[dict[str, str]], str]]


@dataclasses.dataclass(frozen=True)
class GivenEmbeddings:
    """Where the embeddings are; one of `array` and `cache`.

    Attributes:
        array: a `.npy` or `.safetensors` file; for Polis also a folder with
            `embeddings*.safetensors`.
        cache: an earlier cache.
        encoder: the name of what made an array.
    """

    array: Path | None = None
    cache: Path | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        """Checks the name, by which a run will know the encoder again."""
        if self.encoder is not None and not self.encoder.strip():
            raise ValueError("encoder is empty: the name of what made the embeddings is expected")


class Table(NamedTuple):
    """Embeddings of the responses.

    Attributes:
        array: one embedding a row.
        rows: the row of each response, or None: the rows are the responses.
        encoder: what made them, for the cache's manifest.
        head: the reference head, or None.
        texts: the responses' texts, where they are stored with the embeddings.
    """

    array: Float[np.ndarray | jax.Array, "rows dim"]
    rows: Int[np.ndarray, " responses"] | None
    encoder: dict[str, object]
    head: Float[np.ndarray, " dim"] | None = None
    texts: Texts | None = None

    @property
    def num_responses(self) -> int:
        """The number of responses."""
        return self.array.shape[0] if self.rows is None else len(self.rows)


class Source(NamedTuple):
    """Comparisons over a table.

    Attributes:
        pairs: the comparisons; of texts (`TextPairs`), or of rows of the table.
        table: the embeddings.
        texts: (prompt, reply) of each response, or None.
        extra: further columns of each pair, or empty.
        counts: what was repeated, replaced or left out.
        note: what must stand beside every number from these pairs, or None.
    """

    pairs: IndexPairs
    table: Table
    texts: Texts | None
    extra: list[dict[str, object]]
    counts: dict[str, int]
    note: str | None = None


def read_rows_source(path: Path, given: GivenEmbeddings, how: HowToRead | None = None) -> Source:
    """Reads a JSONL, Parquet or CSV file of comparisons or ratings.

    Args:
        path: the file. Rows of texts are matched with an array in the order of the distinct
            responses, and with a cache by their texts; rows that name responses by number name rows
            of the array or of the cache.
        given: the embeddings.
        how: what is done with bad rows, and how ratings become pairs.

    Raises:
        ValueError: a row is not what it should be, there are no embeddings, or they do not fit the
            rows.

    Example:
        >>> given = GivenEmbeddings(Path("table.npy"), encoder="MiniLM")
        >>> source = read_rows_source(Path("pairs.jsonl"), given)  # doctest: +SKIP
    """
    how = how or HowToRead(BadRows(skip=False))
    if holds_index_rows(path, how):
        table = _array(path, given) if given.cache is None else _in_cache(given.cache)
        pairs = read_index_feedback(path, table.num_responses, how)
        texts, extra = table.texts, []
    else:
        if given.array is None and given.cache is None:
            raise ValueError(
                f"{path} holds texts: `lore-jax embed` embeds them; or give --cache, or "
                "--embeddings in the order that --list-responses writes"
            )
        pairs = read_text_feedback(path, how)
        texts, extra = pairs.responses, pairs.extra
        table = _array(path, given) if given.cache is None else _in_cache(given.cache, texts)
        if table.num_responses != len(texts):
            raise ValueError(
                f"{given.array} has {table.num_responses} rows, {path} has {len(texts)} distinct "
                "responses: one row a response, as --list-responses orders them, is expected"
            )
    counts = {"duplicated_rows": pairs.num_duplicates, **pairs.counts}
    return Source(pairs, table, texts, extra, counts, pairs.note)


def read_polis_source(
    folders: Sequence[Path], given: GivenEmbeddings, *, seed: int, max_pairs: int
) -> Source:
    """Reads Polis conversations by `polis_text_pairs`: equal texts are one row of the table.

    Args:
        folders: the conversations.
        given: the embeddings: a folder with `embeddings*.safetensors` (None: the one above the
            first conversation), an array with a row for each statement, or a cache that has the
            statements.
        seed: seed of the draws of pairs.
        max_pairs: the most pairs drawn for a user.

    Raises:
        FileNotFoundError: a file of a conversation, or the embeddings, are missing.
        ValueError: a file is not what Polis publishes, or the embeddings do not fit the statements.
    """
    conversations = [read_polis(folder) for folder in folders]
    pairs = polis_text_pairs(conversations, seed=seed, max_pairs=max_pairs)
    statements = [text for votes in conversations for text in votes.texts]
    first_with = {text: number for number, text in reversed(list(enumerate(statements)))}
    rows = np.array([first_with[response.reply] for response in pairs.responses])
    if given.array is not None and not given.array.is_dir():
        table = _array(folders[0], given)
        if (num_rows := len(table.array)) != len(statements):
            raise ValueError(f"{given.array} has {num_rows} rows for {len(statements)} statements")
        table = table._replace(rows=rows)
    else:
        if given.cache is not None:
            embedded = polis_embeddings_in_cache(given.cache, conversations)
        else:
            embedded = load_polis_embeddings(given.array or folders[0].resolve().parent)
            if given.encoder:
                embedded = embedded._replace(encoder={"model": given.encoder})
        array = np.concatenate([embedded.of(votes) for votes in conversations])
        table = Table(array, rows, embedded.encoder, embedded.head)
    return Source(pairs, table, pairs.responses, [], pairs.counts, pairs.note)


def polis_embeddings_in_cache(
    path: str | os.PathLike[str], conversations: Sequence[Votes]
) -> PolisEmbeddings:
    """Finds the statements of conversations in a cache, by their texts.

    Args:
        path: a cache made of Polis folders (these or more).
        conversations: the conversations.

    Returns:
        The cache's table, and where each statement stands in it.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: the cache is corrupt, or lacks a statement.

    Example:
        >>> votes = read_polis("data/polis/scoop-hivemind.freshwater")  # doctest: +SKIP
        >>> polis_embeddings_in_cache("cache", [votes]).of(votes).shape  # doctest: +SKIP
        (51, 384)
    """
    table = _in_cache(path, [([], text) for votes in conversations for text in votes.texts])
    assert table.rows is not None
    ids = [
        (votes.conversation, int(number)) for votes in conversations for number in votes.comment_ids
    ]
    row_of = dict(zip(ids, table.rows.tolist(), strict=True))
    return PolisEmbeddings(np.asarray(table.array), row_of, table.encoder, table.head)


def _array(source: Path, given: GivenEmbeddings) -> Table:
    if given.array is None:
        raise ValueError(f"{source} names rows of a table: --embeddings or --cache is missing")
    if given.encoder is None:
        meaning = "the name of what made the embeddings, so that others are refused"
        raise ValueError(f"--encoder is missing: {meaning}")
    return Table(load_embeddings(given.array), None, {"model": given.encoder})


def _in_cache(path: str | os.PathLike[str], texts: Texts | None = None) -> Table:
    """The whole table of a cache, or the rows of these texts."""
    prefs, encoder = load_cache(path), read_manifest(path)["encoder"]
    if texts is None:
        return Table(prefs.embeddings, None, encoder, prefs.head, list(read_texts(path)) or None)
    row_of = {_key(*text): row for row, text in enumerate(read_texts(path))}
    rows = np.array([row_of.get(_key(*text), -1) for text in texts])
    is_missing = rows < 0
    if is_missing.any():
        _, reply = texts[int(np.argmax(is_missing))]
        number = f"{int(is_missing.sum())} of {len(texts)} responses"
        raise ValueError(f"{path} lacks {number}, the first {reply[:60]!r}")
    return Table(prefs.embeddings, rows, encoder, prefs.head)


def _key(prompt: str | list[dict[str, str]], reply: str) -> str:
    """Equal for a prompt that is written as a text and as messages."""
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    return json.dumps([prompt, reply], sort_keys=True)
