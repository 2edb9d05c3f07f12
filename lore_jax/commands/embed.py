"""`lore-jax embed`: comparisons of texts become a cache, by a model's folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lore_jax.commands.options import UserNames


@dataclasses.dataclass(frozen=True)
class Config:
    """Embeds every distinct response of comparisons of texts and writes a cache; resumes where it was killed.

    Attributes:
        source: JSONL or Parquet, one comparison a row: user_id, prompt, chosen, rejected (texts or chat messages).
        model: the folder of a reward model or an encoder, as Hugging Face lays it out.
        out: the cache's folder, new or empty.
        dtype: number type of weights and activations; None: that of the model's files.
        store: number type of the stored table; None: that of the computation.
        max_length: the longest text in tokens; longer conversations lose their beginning. None: what the model says.
        batch_tokens: tokens a device works on at a time; None: what suits the device.
        model_parallel: how many devices share each matrix of a model that is too large for one.
        names: user names.
        overwrite: replace a cache that is there.
    """

    source: Annotated[Path, tyro.conf.Positional]
    model: Path
    out: Path
    dtype: Literal["bfloat16", "float32"] | None = None
    store: Literal["float16", "bfloat16", "float32"] | None = None
    max_length: int | None = None
    batch_tokens: int | None = None
    model_parallel: int = 1
    names: Annotated[UserNames, tyro.conf.arg(name="")] = dataclasses.field(default_factory=UserNames)
    overwrite: bool = False


def run(config: Config) -> dict[str, Any]:
    """Embeds, and says what was done."""
    from lore_jax.datasets.rows import read_text_pairs
    from lore_jax.embed.pairs import embed_pairs
    from lore_jax.embed.text_encoder import EmbedConfig

    pairs = read_text_pairs(config.source)
    extra = [] if config.names.hash_ids else pairs.extra
    pairs = dataclasses.replace(pairs, user_ids=config.names.apply(pairs.user_ids), extra=extra)
    embed_config = EmbedConfig(
        dtype=config.dtype,
        max_length=config.max_length,
        batch_tokens=config.batch_tokens,
        model_parallel=config.model_parallel,
        store=config.store,
    )
    report = embed_pairs(pairs, config.model, config.out, embed_config, overwrite=config.overwrite)
    return {
        "cache": str(report.path),
        "responses": report.responses,
        "resumed_from": report.resumed_from,
        "cut_prompts": report.cut_prompts,
        "cut_replies": report.cut_replies,
        "pairs": len(pairs.user),
        "users": len(pairs.user_ids),
        "duplicated_rows": pairs.num_duplicates,
    }


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    said = [
        f"{result['cache']}",
        f"  {result['responses']:,} responses embedded",
        f"  {result['pairs']:,} pairs by {result['users']:,} users",
    ]
    if result["resumed_from"]:
        said.append(f"  went on from row {result['resumed_from']:,}")
    if result["cut_prompts"]:
        said.append(f"  {result['cut_prompts']:,} prompts of {result['cut_replies']:,} replies lost their beginning")
    if result["duplicated_rows"]:
        said.append(f"  {result['duplicated_rows']:,} duplicated rows, kept")
    return said
