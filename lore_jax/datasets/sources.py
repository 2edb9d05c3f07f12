"""Comparisons together with embeddings that exist already: what a cache is made of, whatever it
comes from.

Comparisons are a file of rows (texts, or rows of a table) or folders of Polis conversations;
embeddings are an array or the table of an earlier cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lore_jax.datasets.formats.rows import (
    TextPairs,
    holds_index_rows,
    load_embeddings,
    read_index_pairs,
    read_text_pairs,
)
from lore_jax.datasets.polis.pairs import NOTE, join_polis_pairs
from lore_jax.datasets.polis.votes import PolisEmbeddings, Votes, load_polis_embeddings, read_polis
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_texts

Texts = list[tuple[Any, str]]


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


class Table(NamedTuple):
    """Embeddings of the responses.

    Attributes:
        array: `[n, dim]`.
        rows: which rows of it are the responses, or None for all.
        encoder: what made them, for the cache's manifest.
        head: the reference head, or None.
        texts: their texts, where these came with them.
    """

    array: Any
    rows: np.ndarray | None
    encoder: dict[str, Any]
    head: np.ndarray | None = None
    texts: Texts | None = None

    @property
    def num_responses(self) -> int:
        """The number of responses."""
        return self.array.shape[0] if self.rows is None else len(self.rows)


class Source(NamedTuple):
    """Comparisons over a table.

    Attributes:
        columns: chosen, rejected, user, prompt and, from files, pair_weight: `[pairs]` each.
        user_ids: the users' names, `[users]`.
        table: the embeddings.
        texts: (prompt, reply) of each response, or None.
        extra: further columns of each pair, or empty.
        counts: what was repeated, replaced or left out.
        note: what must be said beside every number from these pairs, or None.
    """

    columns: dict[str, Any]
    user_ids: Sequence[str]
    table: Table
    texts: Texts | None
    extra: list[dict[str, Any]]
    counts: dict[str, int]
    note: str | None = None


def read_rows_source(path: Path, given: GivenEmbeddings) -> Source:
    """Reads a JSONL or Parquet file of comparisons.

    Args:
        path: the file. Rows of texts are matched with an array in the order of the distinct
            responses, and with a cache by their texts; rows that name responses by number name rows
            of the array or of the cache.
        given: the embeddings.

    Returns:
        The `Source`.

    Raises:
        ValueError: a row is not what it should be, there are no embeddings, or they do not fit the
            rows.

    Example:
        >>> source = read_rows_source(Path("pairs.jsonl"), GivenEmbeddings(Path("table.npy"), encoder="MiniLM"))
    """
    if holds_index_rows(path):
        table = _array(path, given) if given.cache is None else _whole_cache(given.cache)
        pairs, texts = read_index_pairs(path, table.num_responses), table.texts
    else:
        if given.array is None and given.cache is None:
            raise ValueError(
                f"{path} holds texts: `lore-jax embed` embeds them; or give --cache, or --embeddings in the order that "
                "--list-responses writes"
            )
        pairs = read_text_pairs(path)
        texts = [(response.prompt, response.reply) for response in pairs.responses]
        table = _array(path, given) if given.cache is None else _texts_in_cache(given.cache, texts)
        if table.num_responses != len(texts):
            raise ValueError(
                f"{given.array} has {table.num_responses} rows, {path} has {len(texts)} distinct responses: one row a "
                "response, in the order that --list-responses writes, is expected"
            )
    columns = {
        name: getattr(pairs, name)
        for name in ("chosen", "rejected", "user", "prompt", "pair_weight")
    }
    extra = pairs.extra if isinstance(pairs, TextPairs) else []
    return Source(
        columns, pairs.user_ids, table, texts, extra, {"duplicated_rows": pairs.num_duplicates}
    )


def read_polis_source(
    folders: Sequence[Path], given: GivenEmbeddings, *, seed: int, max_pairs: int
) -> Source:
    """Reads Polis conversations; each is a prompt.

    Args:
        folders: the conversations.
        given: the embeddings: a folder with `embeddings*.safetensors` (None: the one above the
            first conversation), an array with a row for each statement, or a cache that has the
            statements.
        seed: seed of the draws of pairs.
        max_pairs: the most pairs drawn for a user.

    Returns:
        The `Source`.

    Raises:
        FileNotFoundError: a file of a conversation, or the embeddings, are missing.
        ValueError: a file is not what Polis publishes, or the embeddings do not fit the statements.
    """
    conversations = [read_polis(folder) for folder in folders]
    texts: Texts = [(votes.conversation, text) for votes in conversations for text in votes.texts]
    if given.array is not None and not given.array.is_dir():
        table = _array(folders[0], given)
        if table.num_responses != len(texts):
            raise ValueError(
                f"{given.array} has {table.num_responses} rows for {len(texts)} statements"
            )
    else:
        if given.cache is not None:
            embedded = polis_embeddings_in_cache(given.cache, conversations)
        else:
            embedded = load_polis_embeddings(given.array or folders[0].resolve().parent)
            embedded = embedded._replace(
                encoder={"model": given.encoder} if given.encoder else embedded.encoder
            )
        array = np.concatenate([embedded.of(votes) for votes in conversations])
        table = Table(array, None, embedded.encoder, embedded.head)
    rows = np.split(
        np.arange(len(texts)), np.cumsum([len(votes.texts) for votes in conversations])[:-1]
    )
    joined = join_polis_pairs(conversations, rows, seed=seed, max_pairs=max_pairs)
    return Source(joined.columns, joined.user_ids, table, texts, [], joined.counts, NOTE)


def polis_embeddings_in_cache(
    path: str | os.PathLike[str], conversations: Sequence[Votes]
) -> PolisEmbeddings:
    """Finds the statements of conversations in a cache, by their texts.

    Args:
        path: a cache that `lore-jax embed` made of Polis folders (these or more), or `lore-jax
            prepare`.
        conversations: the conversations.

    Returns:
        The cache's table, and where each statement stands in it.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: the cache is damaged, or lacks a statement.

    Example:
        >>> votes = read_polis("data/polis/scoop-hivemind.freshwater")
        >>> polis_embeddings_in_cache("cache", [votes]).of(votes).shape
        (51, 384)
    """
    prefs = load_cache(path)
    bare: Texts = [
        ([], text) for votes in conversations for text in votes.texts
    ]  # as `embed` writes statements
    named: Texts = [
        (votes.conversation, text) for votes in conversations for text in votes.texts
    ]  # as `prepare` does
    rows = _rows_of_texts(path, bare, named).tolist()
    keys = [
        (votes.conversation, int(comment))
        for votes in conversations
        for comment in votes.comment_ids
    ]
    row_of = dict(zip(keys, rows, strict=True))
    return PolisEmbeddings(
        np.asarray(prefs.embeddings), row_of, read_manifest(path)["encoder"], prefs.head
    )


def _array(source: Path, given: GivenEmbeddings) -> Table:
    if given.array is None:
        raise ValueError(f"{source} names rows of a table: --embeddings or --cache is missing")
    if given.encoder is None:
        raise ValueError(
            "--encoder is missing: the name of what made the embeddings, by which others are refused"
        )
    return Table(load_embeddings(given.array), None, {"model": given.encoder})


def _whole_cache(path: Path) -> Table:
    prefs = load_cache(path)
    return Table(
        prefs.embeddings,
        None,
        read_manifest(path)["encoder"],
        prefs.head,
        list(read_texts(path)) or None,
    )


def _texts_in_cache(path: Path, texts: Texts) -> Table:
    prefs = load_cache(path)
    return Table(
        prefs.embeddings, _rows_of_texts(path, texts), read_manifest(path)["encoder"], prefs.head
    )


def _rows_of_texts(path: str | os.PathLike[str], *spellings: Texts) -> np.ndarray:
    """The row of each text in a cache, under the first of its spellings that the cache has."""
    row_of = {_key(*text): row for row, text in enumerate(read_texts(path))}
    texts = list(zip(*spellings, strict=True))
    rows = np.array(
        [
            next((row_of[key] for text in spelt if (key := _key(*text)) in row_of), -1)
            for spelt in texts
        ]
    )
    if (rows < 0).any():
        _, first = texts[int(np.argmax(rows < 0))][0]
        raise ValueError(
            f"{path} lacks {int((rows < 0).sum())} of {len(texts)} responses, the first {first[:60]!r}"
        )
    return rows


def _key(prompt: Any, reply: str) -> str:
    """A prompt may be spelt as a text or as messages."""
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    return json.dumps([prompt, reply], sort_keys=True)
