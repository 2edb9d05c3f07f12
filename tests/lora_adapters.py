"""Small LoRA adapters as PEFT writes them, without PEFT."""

import json

import numpy as np

from lore_jax.storage.safetensors import write_tensors

SHAPES = {"layers.0.q": (6, 8), "layers.0.k": (4, 8)}  # module to (out, in)
PREFIX = "base_model.model."


def matrices(seed, rank=2, shapes=SHAPES, dtype=np.float32):
    """A and B of every module by their names in the file."""
    rng, tensors = np.random.default_rng(seed), {}
    for module, (height, width) in shapes.items():
        for side, shape in (("A", (rank, width)), ("B", (height, rank))):
            tensors[f"{PREFIX}{module}.lora_{side}.weight"] = rng.normal(size=shape).astype(dtype)
    return tensors


def write_adapter(folder, tensors, *, rank=2, alpha=4, **config):
    """A folder that PEFT loads."""
    folder.mkdir(parents=True)
    usual = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "tiny",
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": ["q", "k"],
        "bias": "none",
        "use_dora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps({**usual, **config}))
    write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


def deltas(tensors, scale):
    """What an adapter adds to each module: `scale B A`, float64."""
    return {
        name.removesuffix(".lora_A.weight"): scale
        * tensors[name.replace("lora_A", "lora_B")].astype(np.float64)
        @ a.astype(np.float64)
        for name, a in tensors.items()
        if "lora_A" in name
    }
