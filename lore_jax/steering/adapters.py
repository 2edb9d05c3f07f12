"""PEFT's LoRA adapters on disk: read, checked, and laid out so that merging is one product.

An adapter changes some matrices of a language model, `W + scale B A`, with `A [r, in]`, `B [out,
r]` and `scale = alpha / r` (`alpha / sqrt(r)` with rsLoRA). All A of an adapter are stacked as one
matrix `[numbers]`, all B as rows `[all outs, r]`: what users' merged adapters hold are weighted
sums of these.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from lore_jax.storage.safetensors import map_tensor, read_header

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_SIDES = (".lora_A.weight", ".lora_B.weight")
_FLOATS = ("float32", "float16", "bfloat16")
# What would need more than A and B.
_UNSUPPORTED = (
    *("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias", "use_qalora"),
    *("layer_replication", "fan_in_fan_out", "trainable_token_indices", "target_parameters"),
)


class Adapter(NamedTuple):
    """A LoRA adapter.

    Attributes:
        path: its folder.
        config: adapter_config.json.
        rank: r.
        scale: what `B A` is multiplied by.
        modules: the changed modules' names, `base_model.model....`, sorted.
        a: `A [r, in]` of each, backed by the file.
        b: `B [out, r]` of each, likewise.
    """

    path: Path
    config: dict[str, Any]
    rank: int
    scale: float
    modules: tuple[str, ...]
    a: tuple[Shaped[np.ndarray, "rank _"], ...]
    b: tuple[Shaped[np.ndarray, "_ rank"], ...]

    @property
    def dtype(self) -> np.dtype:
        """The number type of its matrices."""
        return self.a[0].dtype

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """`(out, in)` of each module."""
        return tuple((b.shape[0], a.shape[1]) for a, b in zip(self.a, self.b, strict=True))


def read_adapter(folder: str | os.PathLike[str]) -> Adapter:
    """Reads one adapter.

    Args:
        folder: with adapter_config.json and adapter_model.safetensors, as PEFT saves it.

    Returns:
        The adapter; its matrices are mapped, not loaded.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: it is no plain LoRA adapter, a matrix is missing, has another shape than the
            configuration says, or is not finite; the message names it.

    Example:
        >>> read_adapter("expert").rank  # doctest: +SKIP
        16
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    path, rank = folder / WEIGHTS, config["r"]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: PEFT writes it with safe_serialization")
    header = read_header(path)
    sides: dict[str, set[str]] = {}
    for name in header:
        side = next((end for end in _SIDES if name.endswith(end)), None)
        if side is None:
            expected = "NAME.lora_A.weight or NAME.lora_B.weight is expected"
            raise ValueError(f"{path} holds {name!r}: {expected}")
        sides.setdefault(name.removesuffix(side), set()).add(side)
    for module, own in sides.items():
        if missing := [side for side in _SIDES if side not in own]:
            raise ValueError(f"{path} lacks {module + missing[0]!r}: it has the other side")
    if not sides:
        raise ValueError(f"{path} holds no matrices")
    modules = tuple(sorted(sides))
    a, b = (tuple(map_tensor(path, module + side) for module in modules) for side in _SIDES)
    for module, one, two in zip(modules, a, b, strict=True):
        for side, array, axis in ((_SIDES[0], one, 0), (_SIDES[1], two, 1)):
            name = module + side
            if array.ndim != 2 or array.shape[axis] != rank:
                shape = list(array.shape)
                raise ValueError(f"{path}: {name!r} has shape {shape}, the rank is {rank}")
            if array.dtype.name not in _FLOATS or array.dtype != a[0].dtype:
                expected = f"one of {', '.join(_FLOATS)}, the same for all, is expected"
                raise ValueError(f"{path}: {name!r} has type {array.dtype.name}: {expected}")
            if not np.isfinite(array.astype(np.float32)).all():
                raise ValueError(f"{path}: {name!r} holds numbers that are not finite")
    root = np.sqrt(rank) if config.get("use_rslora") else rank
    return Adapter(folder, config, rank, float(config["lora_alpha"] / root), modules, a, b)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the folder of a PEFT adapter is expected")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is not JSON") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        got = config.get("peft_type") if isinstance(config, dict) else "no object"
        raise ValueError(f"{path}: peft_type is {got!r}: 'LORA' is expected")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"{path}: r is {rank!r}: an integer of 1 or more is expected")
    if not isinstance(alpha, int | float) or not np.isfinite(alpha):
        raise ValueError(f"{path}: lora_alpha is {alpha!r}: a number is expected")
    if config.get("bias", "none") != "none":
        raise ValueError(f"{path}: bias is {config['bias']!r}: 'none' is expected")
    for name in _UNSUPPORTED:
        if config.get(name):
            raise ValueError(f"{path}: {name} is {config[name]!r}: plain LoRA is expected")
    return config


def refuse_unlike(adapters: Sequence[Adapter], *, same_rank: bool) -> None:
    """Refuses adapters that cannot be merged.

    Args:
        adapters: one or more.
        same_rank: whether A and B are averaged by themselves, which needs one rank and one scale.

    Raises:
        ValueError: two differ in base model, modules, their sizes, number type, or rank or alpha;
            the message names both and what they have.
    """
    if not adapters:
        raise ValueError("there are 0 adapters: 1 or more is expected")
    first = adapters[0]
    for other in adapters[1:]:
        if other.modules != first.modules:
            unlike = sorted(set(other.modules) ^ set(first.modules))[0]
            holder, lacking = (first, other) if unlike in first.modules else (other, first)
            raise ValueError(f"{lacking.path} does not change {unlike!r}, which {holder.path} does")
        about = {
            "base model": [one.config.get("base_model_name_or_path") for one in (first, other)],
            "number type": [one.dtype.name for one in (first, other)],
        }
        if same_rank:
            about["rank"] = [one.rank for one in (first, other)]
            about["alpha"] = [one.config["lora_alpha"] for one in (first, other)]
            about["scale"] = [one.scale for one in (first, other)]
        for name, (mine, yours) in about.items():
            if mine != yours:
                problem = f"{name} {yours!r}, {first.path} has {mine!r}"
                raise ValueError(f"{other.path} has {problem}: adapters must agree in it")
        for module, mine, yours in zip(first.modules, first.shapes, other.shapes, strict=True):
            if mine != yours:
                sizes = f"{list(yours)}, {first.path} has {list(mine)}"
                raise ValueError(f"{other.path}: {module!r} is {sizes}: adapters must agree in it")
