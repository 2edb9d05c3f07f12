"""The log of a fit, `metrics.jsonl`: loss and gradient norm of every step, one JSON object a line.

Lines are appended as steps are made, so the file cannot carry its own checksum. A checkpoint keeps
size and digest of the lines up to its step instead: whoever reads them can tell whether they are
what was written. Lines after the newest checkpoint are written again when the run goes on.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from jaxtyping import Float

from lore_jax.storage.files import read_whole, write_file
from lore_jax.storage.json_fields import Count, check_fields

LOG = "metrics"  # the key of a `LogDigest` in what a checkpoint keeps beside its arrays


class LogDigest(TypedDict):
    """Size and sha256 of a log's beginning."""

    bytes: Count
    sha256: str


class Metrics(TypedDict):
    """What is kept of a step.

    Attributes:
        step: its number, from 0.
        loss: training loss before it, in the method's unit.
        grad_norm: norm of the gradient before it.
    """

    step: int
    loss: float
    grad_norm: float


def metrics_rows(
    step: int, loss: Float[np.ndarray, " steps"], grad_norm: Float[np.ndarray, " steps"]
) -> list[Metrics]:
    """The rows of some steps, the first of which is `step`."""
    pairs = zip(loss.tolist(), grad_norm.tolist(), strict=True)
    return [Metrics(step=step + i, loss=x, grad_norm=norm) for i, (x, norm) in enumerate(pairs)]


def append_metrics(path: Path, rows: Sequence[Metrics]) -> None:
    """Adds the lines of some steps."""
    with open(path, "a", encoding="ascii") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def log_digest(path: Path) -> LogDigest:
    """Size and digest of the log as it is."""
    data = read_whole(path) if path.exists() else b""
    return LogDigest(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def find_log_corruption(path: Path, extra: Mapping[str, object]) -> str | None:
    """What is wrong with a log, in one line, or None.

    Args:
        path: the log.
        extra: what the newest checkpoint keeps; before logs had digests, nothing of them.
    """
    if (known := extra.get(LOG)) is None:
        return None
    check_fields(known, LogDigest, f"the digest of {path}")
    size, digest = known["bytes"], known["sha256"]  # pyright: ignore[reportIndexIssue]
    if not path.exists():
        return f"{path} is missing" if size else None
    data = read_whole(path)
    if len(data) < size:
        return f"{path} is truncated: {len(data)} of {size} bytes up to the newest checkpoint"
    if hashlib.sha256(data[:size]).hexdigest() != digest:
        return f"{path} is corrupt: its lines up to the newest checkpoint are not those written"
    return None


def cut_metrics(path: Path, step: int, extra: Mapping[str, object]) -> None:
    """Removes what a killed process wrote after its last checkpoint; it will be written again.

    Raises:
        ValueError: the lines before that are not those written; they stay as they are.
    """
    line = find_log_corruption(path, extra)
    if not path.exists():
        if line is not None:
            text = f"{line}: it goes on from step {step:,} without the steps before"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        return
    if line is not None:
        raise ValueError(f"{line}; move it away, and the run goes on without it")
    data, known = read_whole(path), extra.get(LOG)
    if known is None:
        write_file(path, data.splitlines(keepends=True)[:step])
    else:
        write_file(path, [data[: known["bytes"]]])  # pyright: ignore[reportIndexIssue]


def last_loss(path: Path) -> float | None:
    """The loss of the last step, in nats a pair, or None if there is none."""
    lines = read_whole(path).splitlines() if path.exists() else []
    return json.loads(lines[-1])["loss"] if lines else None
