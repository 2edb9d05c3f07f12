"""Polis conversations: votes of people on short statements, as in the Polis open data.

A conversation is a folder with `comments.csv` and `votes.csv` (or, where that was not published,
the wide `participants-votes.csv`); https://github.com/compdemocracy/openData, CC BY 4.0. This
module reads the files; `lore_jax/datasets/polis/pairs.py` makes comparisons of the votes.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from lore_jax.datasets.formats.records import read_csv
from lore_jax.storage.safetensors import map_tensor

_REMOVED = -1  # `moderated`: 1 accepted, 0 never looked at, -1 removed by a moderator


@dataclasses.dataclass(frozen=True, eq=False)
class Votes:
    """One conversation: the statements that moderators kept, and each voter's last vote on each.

    Attributes:
        conversation: the folder's name.
        comment_ids: the statements' numbers in the published files, int64 `[statements]`,
            ascending.
        texts: the statements, without white space around them.
        moderated: 1 accepted or 0 never looked at, int8 `[statements]`.
        voter_ids: the voters' numbers in the published files, int64 `[voters]`, ascending.
        voter: who voted, an index into `voter_ids`, int32 `[votes]`, ascending.
        statement: on what, an index into `comment_ids`, int32 `[votes]`.
        vote: 1 agree, -1 disagree, 0 pass, int8 `[votes]`.
        num_removed: how many statements moderators removed.
        num_replaced: how many votes a later vote of the same voter on the same statement replaced.
    """

    conversation: str
    comment_ids: Int[np.ndarray, " statements"]
    texts: list[str]
    moderated: Int8[np.ndarray, " statements"]
    voter_ids: Int[np.ndarray, " voters"]
    voter: Int[np.ndarray, " votes"]
    statement: Int[np.ndarray, " votes"]
    vote: Int8[np.ndarray, " votes"]
    num_removed: int
    num_replaced: int


class PolisEmbeddings(NamedTuple):
    """Embedded statements of several conversations.

    Attributes:
        table: one row a statement, `[rows, dim]`.
        rows: `(conversation, comment id)` to the row.
        encoder: what made them: a cache's manifest's entry, or the name of their file.
        head: the reference head `[dim]`, or None.
    """

    table: Float[np.ndarray, "rows dim"]
    rows: dict[tuple[str, int], int]
    encoder: dict[str, object]
    head: Float[np.ndarray, " dim"] | None = None

    def of(self, votes: Votes) -> Float[np.ndarray, "statements dim"]:
        """The rows of one conversation's statements, in the order of `votes.comment_ids`."""
        conversation, comments = votes.conversation, votes.comment_ids.tolist()
        for comment in comments:
            if (conversation, comment) not in self.rows:
                raise ValueError(f"no embedding of comment {comment} of {conversation}")
        return np.asarray(self.table[[self.rows[conversation, comment] for comment in comments]])


def read_polis(folder: str | os.PathLike[str]) -> Votes:
    """Reads one conversation.

    The last vote of a voter on a statement counts (the later time stamp; the later line where they
    are equal).

    Args:
        folder: a folder with `comments.csv` and either `votes.csv` or `participants-votes.csv`.

    Returns:
        The votes.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what Polis publishes; the message names file, line and column.

    Example:
        >>> votes = read_polis("data/polis/scoop-hivemind.freshwater")  # doctest: +SKIP
        >>> len(votes.texts), len(votes.voter_ids)  # doctest: +SKIP
        (51, 117)
    """
    folder = Path(folder)
    if not folder.is_dir():
        expected = "a Polis conversation (comments.csv, votes.csv) is expected"
        raise FileNotFoundError(f"{folder} is not a folder: {expected}")
    comments: dict[int, tuple[str, int]] = {}
    columns = ("comment-id", "moderated", "comment-body")
    for where, row in read_csv(folder / "comments.csv", columns):
        comment, text = _integer(where, "comment-id", row), row["comment-body"].strip()
        if comment in comments or not text:
            problem = "given twice" if comment in comments else "empty"
            raise ValueError(f"{where}: comment {comment} is {problem}")
        comments[comment] = text, _integer(where, "moderated", row, (-1, 0, 1))
    last: dict[tuple[int, int], tuple[int, int]] = {}
    num_votes = 0
    is_long = (folder / "votes.csv").exists()
    for where, voter, comment, time, vote in (_long_votes if is_long else _wide_votes)(folder):
        if comment not in comments:
            problem = f"a vote on comment {comment}, which comments.csv does not have"
            raise ValueError(f"{where}: {problem}")
        num_votes += 1
        if time >= last.get((voter, comment), (time, 0))[0]:
            last[voter, comment] = time, vote
    kept = {comment: value for comment, value in sorted(comments.items()) if value[1] != _REMOVED}
    triplets = [(*key, vote) for key, (_, vote) in sorted(last.items()) if key[1] in kept]
    voters, comment, vote = np.array(triplets, np.int64).reshape(-1, 3).T
    comment_ids = np.array(list(kept), np.int64)
    texts, moderated = zip(*kept.values(), strict=True) if kept else ((), ())
    voter_ids = np.array(sorted({voter for voter, _ in last}), np.int64)
    return Votes(
        conversation=folder.resolve().name,
        comment_ids=comment_ids,
        texts=list(texts),
        moderated=np.array(moderated, np.int8),
        voter_ids=voter_ids,
        voter=np.searchsorted(voter_ids, voters).astype(np.int32),
        statement=np.searchsorted(comment_ids, comment).astype(np.int32),
        vote=vote.astype(np.int8),
        num_removed=len(comments) - len(kept),
        num_replaced=num_votes - len(last),
    )


def load_polis_embeddings(root: str | os.PathLike[str]) -> PolisEmbeddings:
    """Loads embeddings of the statements.

    Args:
        root: the folder that holds the conversations' folders, one `embeddings*.safetensors`, and
            `embeddings-rows.csv`, which names the statement of each row.

    Returns:
        The table, memory-mapped, and where each statement stands in it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: there are several such files, or row numbers and table disagree.
    """
    root = Path(root)
    tables = sorted(root.glob("embeddings*.safetensors"))
    if not tables:
        raise FileNotFoundError(f"{root} holds no embeddings*.safetensors")
    if len(tables) > 1:
        names = ", ".join(file.name for file in tables)
        raise ValueError(f"{root} holds {names}: one table is expected")
    table = map_tensor(tables[0], "embeddings")
    rows: dict[tuple[str, int], int] = {}
    for where, row in read_csv(root / "embeddings-rows.csv", ("conversation", "comment-id")):
        key = row["conversation"], _integer(where, "comment-id", row)
        if key in rows:
            raise ValueError(f"{where}: comment {key[1]} of {key[0]} is given twice")
        rows[key] = len(rows)
    if len(rows) != (size := len(table)):
        names = f"{root / 'embeddings-rows.csv'} names {len(rows)} rows"
        raise ValueError(f"{names}, {tables[0].name} has {size}")
    model = tables[0].stem.removeprefix("embeddings").lstrip("-")
    return PolisEmbeddings(table, rows, {"model": model})


def _long_votes(folder: Path) -> Iterator[tuple[str, int, int, int, int]]:
    columns = ("timestamp", "comment-id", "voter-id")
    for where, row in read_csv(folder / "votes.csv", (*columns, "vote")):
        time, comment, voter = (_integer(where, name, row) for name in columns)
        yield where, voter, comment, time, _integer(where, "vote", row, (-1, 0, 1))


def _wide_votes(folder: Path) -> Iterator[tuple[str, int, int, int, int]]:
    for where, row in read_csv(folder / "participants-votes.csv", ("participant",)):
        voter = _integer(where, "participant", row)
        for name, value in row.items():
            if value and name.isdecimal():
                yield where, voter, int(name), 0, _integer(where, name, row, (-1, 0, 1))


def _integer(where: str, name: str, row: dict[str, str], allowed: tuple[int, ...] = ()) -> int:
    try:
        value = int(row[name])
    except ValueError:
        raise ValueError(f"{where}: {name} is {row[name]!r}: a whole number is expected") from None
    if allowed and value not in allowed:
        expected = " or ".join(map(str, allowed))
        raise ValueError(f"{where}: {name} is {value}: {expected} is expected")
    return value
