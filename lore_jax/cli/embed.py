"""`lore-jax embed`: a model embeds comparisons of texts, or Polis statements, into a cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from lore_jax.cli.arguments import FLAT, POSITIONAL
from lore_jax.cli.options import UserNames, are_polis, left_out_lines


@dataclasses.dataclass(frozen=True)
class Config:
    """Embeds every distinct response of comparisons and writes a cache; resumes an interrupted run.

    Attributes:
        sources: JSONL or Parquet, one comparison a row: user_id, prompt, chosen, rejected (texts or
            chat messages); or (CSV too) one rating a row: user_id, response, rating, prompt; or
            folders of Polis conversations, whose statements are embedded without a prompt.
        model: the folder of a reward model or an encoder, as Hugging Face lays it out.
        out: the cache's folder, new or empty.
        dtype: number type of weights and activations; None: that of the model's files.
        store: number type of the stored table; None: that of the computation.
        max_length: the longest text in tokens; longer conversations lose their beginning. None:
            what the model says.
        batch_tokens: tokens a device works on at a time; None: what suits the device.
        model_parallel: how many devices share each matrix of a model that is too large for one.
        names: user names.
        max_pairs: Polis and ratings: the most pairs drawn for a user.
        seed: Polis and ratings: seed of the draws.
        skip_bad: skip rows that are not what they should be, or whose replies the model cannot
            read whole, and count them.
        overwrite: replace a cache that is there.
    """

    sources: Annotated[tuple[Path, ...], POSITIONAL]
    model: Path
    out: Path
    dtype: Literal["bfloat16", "float32"] | None = None
    store: Literal["float16", "bfloat16", "float32"] | None = None
    max_length: int | None = None
    batch_tokens: int | None = None
    model_parallel: int = 1
    names: Annotated[UserNames, FLAT] = dataclasses.field(default_factory=UserNames)
    max_pairs: int = 60
    seed: int = 0
    skip_bad: bool = False
    overwrite: bool = False


def run(config: Config) -> dict[str, object]:
    """Embeds the responses; the result is what was done."""
    from lore_jax.datasets.formats.feedback import HowToRead, read_text_feedback
    from lore_jax.datasets.formats.records import BadRows
    from lore_jax.datasets.polis.pairs import polis_text_pairs
    from lore_jax.datasets.polis.votes import read_polis
    from lore_jax.embed.left_out import embeddable
    from lore_jax.embed.pairs import embed_pairs
    from lore_jax.embed.text_encoder import EmbedConfig, load_encoder

    how = HowToRead(BadRows(skip=config.skip_bad), config.seed, config.max_pairs)
    if are_polis(config.sources):
        conversations = [read_polis(folder) for folder in config.sources]
        pairs = polis_text_pairs(conversations, seed=config.seed, max_pairs=config.max_pairs)
    else:
        pairs = read_text_feedback(config.sources[0], how)
    extra = [] if config.names.hash_ids else pairs.extra
    pairs = dataclasses.replace(pairs, user_ids=config.names.apply(pairs.user_ids), extra=extra)
    names = ("dtype", "max_length", "batch_tokens", "model_parallel", "store")
    options = EmbedConfig(**{name: getattr(config, name) for name in names})
    if config.skip_bad:
        encoder = load_encoder(config.model, options)
        pairs = embeddable(pairs, encoder.renderer, how.bad)
        report = embed_pairs(pairs, encoder, config.out, overwrite=config.overwrite)
    else:
        report = embed_pairs(pairs, config.model, config.out, options, overwrite=config.overwrite)
    return {
        "cache": str(report.path),
        "responses": report.responses,
        "resumed_from": report.resumed_from,
        "cut_prompts": report.cut_prompts,
        "cut_replies": report.cut_replies,
        "pairs": len(pairs.user),
        "users": len(pairs.user_ids),
        "duplicated_rows": pairs.num_duplicates,
        **pairs.counts,
        "bad_rows": how.bad.count,
        "first_bad_rows": how.bad.first,
        "note": pairs.note,
    }


def lines(result: Mapping[str, object]) -> list[str]:
    """The result as text."""
    output = [
        f"{result['cache']}",
        f"  {result['responses']:,} responses embedded",
        f"  {result['pairs']:,} pairs by {result['users']:,} users",
    ]
    if result["resumed_from"]:
        output.append(f"  resumed from row {result['resumed_from']:,}")
    if result["cut_prompts"]:
        cut = f"{result['cut_prompts']:,} prompts of {result['cut_replies']:,} replies"
        output.append(f"  {cut} were too long and lost their beginning")
    return output + left_out_lines(result)
