"""Pooling: from the hidden states of a text's tokens to its embedding, as the model's files say.

sentence-transformers folders say it in `modules.json` and `1_Pooling/config.json`. A reward model's
score head reads the last token that is not padding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.embed.transformer.architectures import Architecture
from lore_jax.embed.transformer.config_file import read_json
from lore_jax.storage.json_fields import Between, check_fields

_Mode = Literal["mean", "first", "last", "last_non_pad"]
_MODULES = ("Transformer", "Pooling", "Normalize")
_PROMPTS = "config_sentence_transformers.json"
_MODES: dict[str, _Mode] = {"mean": "mean", "cls": "first", "lasttoken": "last"}
_MODES |= {"mean_tokens": "mean", "cls_token": "first"}


class _Module(TypedDict, total=False):
    """A line of modules.json."""

    type: Required[str]
    path: str


class _PoolingFields(TypedDict, total=False):
    """What is read of the pooling's config.json, beside its `pooling_mode_...`."""

    pooling_mode: str | None
    include_prompt: bool


class _Limits(TypedDict, total=False):
    """What is read of sentence_bert_config.json."""

    max_seq_length: Annotated[int, Between(1, 10**8)] | None


class _Prompts(TypedDict, total=False):
    """What is read of config_sentence_transformers.json."""

    prompts: dict[str, str] | None
    default_prompt_name: str | None


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
    """How the files of a model's folder say it pools; without such files, a decoder's last token.

    Raises:
        ValueError: an encoder whose files do not say it, or a module that is not supported.
    """
    modules_file = folder / "modules.json"
    if not modules_file.is_file():
        if not model.is_causal:
            problem = "does not say how to pool tokens: a modules.json is expected"
            raise ValueError(f"{folder} {problem}")
        return Pooling("last_non_pad" if model.has_head else "last")
    listed = _read(modules_file, list[_Module])
    modules = {module["type"].rsplit(".", 1)[-1]: module.get("path", "") for module in listed}
    if unknown := sorted(set(modules) - set(_MODULES)):
        supported = ", ".join(_MODULES)
        raise ValueError(f"{modules_file} has a module {unknown[0]!r}: supported are {supported}")
    if "Pooling" not in modules:
        expected = "mean, first or last token is expected"
        raise ValueError(f"{modules_file} has no Pooling module: {expected}")
    pooling_file = folder / modules["Pooling"] / "config.json"
    pooling = _read(pooling_file, _PoolingFields)
    limits, prompts = (
        _read(file, fields) if file.is_file() else {}
        for file, fields in (
            (folder / "sentence_bert_config.json", _Limits),
            (folder / _PROMPTS, _Prompts),
        )
    )
    prefix = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), "")
    if prefix and not pooling.get("include_prompt", True):
        problem = f"leaves the prompt {prefix!r} out of the pooling"
        raise ValueError(f"{pooling_file} {problem}: that is not supported")
    mode, limit = _mode(pooling, pooling_file), limits.get("max_seq_length")
    return Pooling(mode, "Normalize" in modules, limit, prefix)


def _read(file: Path, expected: Any) -> Any:
    content = read_json(file)
    check_fields(content, expected, str(file))
    return content


def _mode(pooling: Mapping[str, object], file: Path) -> _Mode:
    prefix = "pooling_mode_"
    names = [name for name in pooling if name.startswith(prefix) and pooling[name] is True]
    modes = [name.removeprefix(prefix) for name in names]
    if pooling.get("pooling_mode"):
        modes = [str(pooling["pooling_mode"])]
    if len(modes) != 1 or modes[0] not in _MODES:
        raise ValueError(f"{file} pools by {modes}: one of mean, cls, lasttoken is expected")
    return _MODES[modes[0]]


def pool(
    hidden: Float[jax.Array, "rows length dim"],
    item: Int[jax.Array, "rows length"],
    index: Int[jax.Array, "rows texts"],
    pooling: Pooling,
) -> Float[jax.Array, "rows texts dim"]:
    """The embeddings of packed texts, float32; slots without a text hold something finite.

    Args:
        hidden: last hidden state.
        item: which text of the row a token belongs to; only read for the mean.
        index: for each text, the column of the token that stands for it.
        pooling: how to pool, static.
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
