"""Pooling: from the hidden states of a text's tokens to its embedding, as the model's files say.

sentence-transformers folders say it in `modules.json` and `1_Pooling/config.json`. A reward model's
score head reads the last token that is not padding.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.embed.transformer.architectures import Architecture

_Mode = Literal["mean", "first", "last", "last_non_pad"]
_MODES: dict[str, _Mode] = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "first",
    "cls_token": "first",
    "lasttoken": "last",
}


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How a text's embedding is made of its tokens.

    Attributes:
        mode: mean over all tokens; the first or the last token; or, as Hugging Face reward models
            do it, the last token that is not the padding token (the end of turn may be the padding
            token: then it is the one before).
        unit_norm: the embedding is divided by its length.
        max_length: the length limit in tokens, where the files say one.
        prefix: what the files put in front of every text.
    """

    mode: _Mode
    unit_norm: bool = False
    max_length: int | None = None
    prefix: str = ""

    def token_index(self, token_ids: Int[np.ndarray, " tokens"], pad_id: int | None) -> int:
        """Which token of a text is its embedding; 0 for the mean, which looks at all."""
        if self.mode == "last_non_pad" and pad_id is not None:
            return int(np.flatnonzero(token_ids != pad_id)[-1])
        return len(token_ids) - 1 if self.mode in ("last", "last_non_pad") else 0


def read_pooling(folder: Path, model: Architecture) -> Pooling:
    """Reads how a model pools.

    Args:
        folder: the model's folder.
        model: its architecture.

    Returns:
        What its files say; without such files, the last token of a decoder.

    Raises:
        ValueError: an encoder whose files do not say it, or a module that is not supported.
    """
    modules_file = folder / "modules.json"
    if not modules_file.is_file():
        if not model.is_causal:
            raise ValueError(
                f"{folder} does not say how to pool tokens: a modules.json is expected"
            )
        return Pooling("last_non_pad" if model.has_head else "last")
    modules = {
        str(module["type"]).rsplit(".", 1)[-1]: module.get("path", "")
        for module in _read(modules_file)
    }
    if unknown := sorted(set(modules) - {"Transformer", "Pooling", "Normalize"}):
        raise ValueError(
            f"{modules_file} has a module {unknown[0]!r}: "
            "supported are Transformer, Pooling, Normalize"
        )
    if "Pooling" not in modules:
        raise ValueError(
            f"{modules_file} has no Pooling module: mean, first or last token is expected"
        )
    pooling_file = folder / modules["Pooling"] / "config.json"
    pooling = _read(pooling_file)
    limits_file = folder / "sentence_bert_config.json"
    limit = _read(limits_file).get("max_seq_length") if limits_file.is_file() else None
    prompts_file = folder / "config_sentence_transformers.json"
    prompts = _read(prompts_file) if prompts_file.is_file() else {}
    prefix = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), "")
    if prefix and not pooling.get("include_prompt", True):
        raise ValueError(
            f"{pooling_file} leaves the prompt {prefix!r} out of the pooling: that is not supported"
        )
    return Pooling(_mode(pooling, pooling_file), "Normalize" in modules, limit, prefix)


def _mode(pooling: Mapping[str, object], file: Path) -> _Mode:
    modes = [
        name.removeprefix("pooling_mode_")
        for name, is_on in pooling.items()
        if name.startswith("pooling_mode_") and is_on is True
    ]
    if pooling.get("pooling_mode"):
        modes = [str(pooling["pooling_mode"])]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise ValueError(f"{file} pools by {modes}: one of mean, cls, lasttoken is expected")
    return _MODES[modes[0]]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def pool(
    hidden: Float[jax.Array, "rows length dim"],
    item: Int[jax.Array, "rows length"],
    index: Int[jax.Array, "rows texts"],
    pooling: Pooling,
) -> Float[jax.Array, "rows texts dim"]:
    """The embeddings of the texts in packed rows.

    Args:
        hidden: last hidden state `[rows, length, dim]`.
        item: which text of the row a token belongs to `[rows, length]`; only read for the mean.
        index: for each text, the column of the token that stands for it `[rows, texts]`.
        pooling: how to pool, static.

    Returns:
        `[rows, texts, dim]`, float32; slots without a text hold something finite.
    """
    if pooling.mode == "mean":
        texts = jnp.arange(index.shape[1], dtype=item.dtype)
        member = (item[:, None, :] == texts[None, :, None]).astype(jnp.float32)
        summed = jnp.einsum("rtl,rld->rtd", member, hidden.astype(jnp.float32))
        pooled = summed / jnp.maximum(member.sum(axis=2), 1.0)[:, :, None]
    else:
        pooled = jnp.take_along_axis(hidden, index[:, :, None], axis=1).astype(jnp.float32)
    if pooling.unit_norm:
        pooled = pooled / jnp.maximum(jnp.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
    return pooled
