"""Texts per second of `embed_texts` and of PyTorch with transformers, on the same texts.

    python -m benchmarks.embed_throughput --model DIR --data POLIS

About a minute on two CPU cores. Both are measured in turns in one process; both read the texts as
strings and give pooled, normalised embeddings in NumPy; tokenising counts. PyTorch gets batches
sorted by length, padded to the longest text of each; its best batch size of several counts. The
best of several turns counts for both. PyTorch is measured only where it is installed.
"""

import argparse
import contextlib
import csv
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lore_jax.embed import embed_texts, load_encoder

TORCH_BATCHES = (16, 32, 64)


def polis_texts(folder: Path) -> list[str]:
    """All statements of all conversations under a folder."""
    texts = []
    for path in sorted(folder.glob("*/comments.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            texts += [
                row["comment-body"] for row in csv.DictReader(file) if row["comment-body"].strip()
            ]
    return texts


def torch_encoder(folder: Path, batch: int) -> Callable[[Sequence[str]], np.ndarray]:
    """Mean pooling over the mask and unit norm, as sentence-transformers does for MiniLM."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def embed(texts: Sequence[str]) -> np.ndarray:
        order = np.argsort([-len(text) for text in texts], kind="stable")
        table = np.empty((len(texts), model.config.hidden_size), np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            inputs = tokenizer([texts[row] for row in rows], padding=True, return_tensors="pt")
            with torch.inference_mode():
                hidden = model(**inputs).last_hidden_state
                mask = inputs["attention_mask"][..., None]
                pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
            table[rows] = pooled.numpy()
        return table

    return embed


def measure(folder: Path, texts: Sequence[str], *, smoke: bool = False) -> dict[str, Any]:
    """Texts per second of both, and the largest difference of their embeddings.

    Args:
        folder: an encoder's folder.
        texts: what to embed.
        smoke: a few texts, measured once instead of three times.

    Returns:
        Numbers for a results file.
    """
    texts, turns = (texts[:32], 1) if smoke else (texts, 3)
    encoder = load_encoder(folder)
    runs: dict[str, Callable[[Sequence[str]], np.ndarray]] = {
        "jax": lambda some: embed_texts(some, encoder)
    }
    with contextlib.suppress(ImportError):
        runs |= {
            f"torch, batches of {batch}": torch_encoder(folder, batch) for batch in TORCH_BATCHES
        }
    tables = {name: run(texts) for name, run in runs.items()}  # compiles, and warms the caches
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run(texts)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    rates = {name: round(len(texts) / value, 1) for name, value in seconds.items()}
    result: dict[str, Any] = {
        "texts": len(texts),
        "texts_per_second": rates,
        "jax": jax.__version__,
    }
    if len(runs) > 1:
        best = max((name for name in runs if name != "jax"), key=rates.__getitem__)
        result["jax_over_torch"] = round(rates["jax"] / rates[best], 2)
        result["largest_difference"] = float(np.abs(tables["jax"] - tables[best]).max())
    return result


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measures, and prints the numbers as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the Polis conversations"
    )
    parser.add_argument("--smoke", action="store_true", help="a few texts, once")
    options = parser.parse_args(arguments)
    result = measure(options.model, polis_texts(options.data), smoke=options.smoke)
    print(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
