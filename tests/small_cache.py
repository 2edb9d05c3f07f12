"""A small embedding cache, its folder written in one call; and a flipped bit."""

import json

import numpy as np

from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.storage.files import with_checksum

ROWS, DIM = 100, 24
ENCODER = {"model": "tiny", "revision": "abc", "pooling": "mean", "dtype": "float32"}
TABLE = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)
TEXTS = [
    ([{"role": "user", "content": f"prompt {i // 2}"}], f"reply {i} é\u2028") for i in range(ROWS)
]
PAIRS = {
    "chosen": [0, 5, 99, 40],
    "rejected": [1, 2, 3, 41],
    "user": [2, 0, 2, 0],
    "prompt": [4, 3, 2, 1],
}


def write(
    folder, table=TABLE, dtype="float16", rows_per_shard=30, inputs=None, finish=None, **options
):
    itemsize = np.dtype(dtype).itemsize if dtype != "bfloat16" else 2
    shard_bytes = rows_per_shard * table.shape[1] * itemsize
    options = {"encoder": ENCODER, **options}
    with CacheWriter(
        folder, dim=table.shape[1], dtype=dtype, inputs=inputs, shard_bytes=shard_bytes, **options
    ) as writer:
        for start in range(writer.rows_done, len(table), 7):
            writer.append(table[start : start + 7])
        writer.finish(
            **PAIRS, **({"user_ids": ["ann", "bob", "eve"]} if finish is None else finish)
        )
    return folder


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def remake_manifest(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    (folder / "manifest.json").write_bytes(with_checksum({**manifest, **changes}))
