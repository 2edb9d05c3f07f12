"""Peak memory of embedding with a randomly initialised reward model of the shape of Llama-3.2-1B.

    python -m benchmarks.embed_memory

Two CPU cores take about three minutes; 2.5 GB of disk. With --smoke a tiny model of the same kind
takes seconds. Expected: the process stays below its weights plus 2 GB, whatever the number type.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np
from tqdm import tqdm

from benchmarks.peak_memory import json_of_child, peak_memory
from lore_jax.embed.tokenizer import quiet_import
from lore_jax.embed.transformer.architectures import Decoder
from lore_jax.embed.transformer.causal import decoder_parameters
from lore_jax.embed.transformer.config_file import read_architecture
from lore_jax.storage.safetensors import write_tensors

DType = Literal["bfloat16", "float32"]
LLAMA_1B = {
    "architectures": ["LlamaForSequenceClassification"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 8192,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "id2label": {"0": "reward"},
    "pad_token_id": 128004,
}
SMOKE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "intermediate_size": 128,
    "pad_token_id": 511,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}"
)


def write_random_model(folder: Path, config: dict[str, Any]) -> None:
    """A reward model's folder: random bfloat16 weights and a tokenizer with a token a byte."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    with quiet_import():
        from transformers import PreTrainedTokenizerFast

    (folder / "config.json").write_text(json.dumps(config))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(
        models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[])
    )
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.pre_tokenizer = splitter  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<|bos|>", eos_token="<|end|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    model = read_architecture(folder)
    assert isinstance(model, Decoder)
    rng = np.random.default_rng(0)
    tensors = {}
    for name, parameter in tqdm(
        decoder_parameters(model).items(), desc="random weights", leave=False, disable=None
    ):
        scale = 1 / np.sqrt(parameter.shape[-1])
        for layer in range(model.layers if parameter.is_layered else 1):
            array = rng.standard_normal(parameter.shape, np.float32) * np.float32(scale)
            prefix = "" if name == "head" else "model."
            tensors[prefix + parameter.source.format(layer)] = array.astype(ml_dtypes.bfloat16)
    write_tensors(folder / "model.safetensors", tensors)


def embed_once(folder: Path, dtype: DType, conversations: int) -> dict[str, object]:
    """Embeds in this process and reports its memory."""
    import jax

    from lore_jax.embed import EmbedConfig, embed_texts, load_encoder

    encoder = load_encoder(folder, EmbedConfig(dtype=dtype))
    texts = [
        [
            {"role": "user", "content": "Why? " * 20},
            {"role": "assistant", "content": f"Because of {number}. " * 5},
        ]
        for number in range(conversations)
    ]
    finite = bool(np.isfinite(embed_texts(texts, encoder)).all())
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(encoder.params))
    peak = peak_memory()
    return {
        "dtype": dtype,
        "weights_GB": round(weights / 1e9, 2),
        "peak_GB": round(peak / 1e9, 2),
        "above_weights_GB": round((peak - weights) / 1e9, 2),
        "within_2_GB": peak <= weights + 2e9,
        "finite": finite,
    }


def main(arguments: list[str] | None = None) -> list[dict[str, object]]:
    """Measures both number types, each in a process of its own; prints a line of JSON each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a tiny model")
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        folder, dtype = options.child
        results = [embed_once(Path(folder), dtype, 4 if options.smoke else 20)]
        print(json.dumps(results[0]))
        return results
    results = []
    with tempfile.TemporaryDirectory() as folder:
        write_random_model(Path(folder), LLAMA_1B | (SMOKE if options.smoke else {}))
        for dtype in get_args(DType):
            results.append(
                json_of_child(
                    "benchmarks.embed_memory",
                    ["--child", folder, dtype, *["--smoke"] * options.smoke],
                )
            )
            print(json.dumps(results[-1]))
    return results


if __name__ == "__main__":
    main()
