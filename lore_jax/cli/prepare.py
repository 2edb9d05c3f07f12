"""`lore-jax prepare`: comparisons, and embeddings that exist already, become a cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.cli.options import UserNames, are_polis, left_out_lines

if TYPE_CHECKING:
    from lore_jax.datasets.formats.feedback import HowToRead
    from lore_jax.datasets.sources import Source

_ROWS_AT_A_TIME = 8192


@dataclasses.dataclass(frozen=True)
class Config:
    """Makes a cache of comparisons and embeddings you have.

    A source is a JSONL or Parquet file with one comparison a row (user_id, prompt, chosen,
    rejected: texts or chat messages; or user_id, chosen, rejected: rows of the embeddings), or
    with one rating a row (CSV too: user_id, response, rating, prompt if there are several), of
    which pairs of a higher and a lower rated response are made, or with one answer a row (a
    strength beside chosen and rejected, 0 for no preference; or responses with rank, choice, or
    best and worst), which are kept as said beside the pairs; or folders of Polis conversations.

    Attributes:
        sources: one file, or one or more Polis folders.
        out: the cache's folder, new or empty.
        embeddings: .npy or .safetensors, one row a response. Texts: in the order that
            --list-responses writes. Polis: one row a statement, or the folder with
            embeddings*.safetensors and embeddings-rows.csv; by default the one above the
            conversation.
        encoder: what made the embeddings (a model's name): a run refuses embeddings of another
            encoder.
        cache: take the embeddings from an earlier cache: rows of its table, or texts it has.
        head: .npy or .safetensors, the reference head [dim] of the reward model that made the
            embeddings.
        list_responses: only write the distinct (prompt, reply) of a file of texts here, one JSON
            object a line, to be embedded by you.
        dtype: number type of the stored table; None: that of the embeddings.
        names: user names.
        max_pairs: Polis and ratings: the most pairs drawn for a user.
        seed: Polis and ratings: seed of the draws.
        scale: lowest and highest rating of the scale; a rating outside is refused.
        skip_bad: skip rows that are not what they should be, and count them.
        overwrite: replace a cache that is there.
    """

    sources: Annotated[tuple[Path, ...], POSITIONAL]
    out: Path | None = None
    embeddings: Path | None = None
    encoder: str | None = None
    cache: Path | None = None
    head: Path | None = None
    list_responses: Path | None = None
    dtype: Literal["float16", "bfloat16", "float32"] | None = None
    names: Annotated[UserNames, FLAT] = dataclasses.field(default_factory=UserNames)
    max_pairs: int = 60
    seed: int = 0
    scale: tuple[int, int] | None = None
    skip_bad: bool = False
    overwrite: bool = False


def run(config: Config) -> dict[str, object]:
    """Writes the cache; the result is what it holds."""
    import numpy as np

    from lore_jax.datasets.formats.feedback import HowToRead
    from lore_jax.datasets.formats.records import BadRows
    from lore_jax.datasets.sources import GivenEmbeddings, read_polis_source, read_rows_source

    is_polis, first = are_polis(config.sources), config.sources[0]
    bad = BadRows(skip=config.skip_bad)
    how = HowToRead(bad, config.seed, config.max_pairs, config.scale)
    if config.list_responses is not None:
        if is_polis:
            raise ValueError(f"{first} has no texts to list: a file of comparisons is expected")
        return _list_responses(first, config.list_responses, how, config.overwrite)
    if config.out is None:
        raise ValueError("--out is missing: the folder of the cache to make")
    if config.embeddings is not None and config.cache is not None:
        raise ValueError("--embeddings and --cache are both given: one of them is expected")
    given = GivenEmbeddings(config.embeddings, config.cache, config.encoder)
    if is_polis:
        options = {"seed": config.seed, "max_pairs": config.max_pairs}
        source = read_polis_source(config.sources, given, **options)
    else:
        source = read_rows_source(first, given, how)
    pairs, table = source.pairs, source.table
    user_ids = config.names.apply(pairs.user_ids)
    dtype = config.dtype or ("float32" if table.array.dtype == float else table.array.dtype.name)
    folder = _write(config, config.out, source, user_ids, dtype)
    return {
        "cache": str(folder),
        "responses": table.num_responses,
        "dim": table.array.shape[1],
        "dtype": dtype,
        "encoder": table.encoder,
        "pairs": len(pairs.user),
        "users": len(user_ids),
        "users_without_pairs": len(user_ids) - len(np.unique(pairs.user)),
        "prompts": len(np.unique(pairs.prompt)),
        **source.counts,
        "bad_rows": how.bad.count,
        "first_bad_rows": how.bad.first,
        "note": source.note,
    }


def _write(config: Config, out: Path, source: Source, user_ids: list[str], dtype: str) -> Path:
    from tqdm import tqdm

    from lore_jax.datasets.formats.arrays import load_vector
    from lore_jax.storage.cache.writer import CacheWriter

    pairs, table, count = source.pairs, source.table, source.table.num_responses
    head = table.head if config.head is None else load_vector(config.head)
    # Without `inputs` a killed write starts again from the first row: it only copies.
    options = {"dim": table.array.shape[1], "dtype": dtype, "encoder": table.encoder}
    writer = CacheWriter(out, **options, overwrite=config.overwrite)
    with writer, tqdm(total=count, desc=out.name, unit="row", disable=None) as bar:
        for start in range(0, count, _ROWS_AT_A_TIME):
            part = slice(start, min(start + _ROWS_AT_A_TIME, count))
            try:
                writer.append(table.array[part if table.rows is None else table.rows[part]])
            except ValueError as error:
                source_name = config.embeddings or config.cache or "the Polis table"
                raise ValueError(f"{source_name}: {error}") from None
            bar.update(part.stop - part.start)
        return writer.finish(
            **{**pairs.cache_columns(), "user_ids": user_ids, "note": source.note},
            head=head,
            texts=source.texts,
            extra=None if config.names.hash_ids else source.extra or None,
        )


def lines(result: Mapping[str, object]) -> list[str]:
    """The result as text."""
    if "listed" in result:
        text = f"{result['listed']}: {result['responses']:,} responses"
        skipped = f", {result['bad_rows']:,} bad rows skipped" if result["bad_rows"] else ""
        return [f"{text}{skipped}; embed them in this order, one row a line"]
    encoder, empty = result["encoder"], result["users_without_pairs"]
    model = encoder.get("model") if isinstance(encoder, Mapping) else None
    table = f"{result['responses']:,} responses, dim {result['dim']}, {result['dtype']}"
    users = f"{result['users']:,} users{f' ({empty:,} without any)' if empty else ''}"
    output = [
        f"{result['cache']}",
        f"  {table}, by {model or 'unnamed encoder'}",
        f"  {result['pairs']:,} pairs by {users} on {result['prompts']:,} prompts",
    ]
    return output + left_out_lines(result)


def _list_responses(source: Path, path: Path, how: HowToRead, overwrite: bool) -> dict[str, object]:
    import json

    from lore_jax.datasets.formats.feedback import holds_index_rows, read_text_feedback
    from lore_jax.storage.files import refuse_existing, write_file

    if holds_index_rows(source, how):
        expected = "a file of comparisons of texts is expected"
        raise ValueError(f"{source} has no texts to list: {expected}")
    refuse_existing(path, overwrite)
    responses = read_text_feedback(source, how).responses
    write_file(path, (json.dumps(response._asdict()).encode() + b"\n" for response in responses))
    return {"listed": str(path), "responses": len(responses), "bad_rows": how.bad.count}
