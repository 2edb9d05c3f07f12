"""The log of a fit: checked against what the newest checkpoint says of it, cut where it goes on."""

import json

import numpy as np
import pytest
from small_run import QUICK

from lore_jax.runs.metrics import (
    LOG,
    append_metrics,
    cut_metrics,
    find_log_corruption,
    last_loss,
    log_digest,
    metrics_rows,
)
from lore_jax.runs.run import run_fit


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, metrics_rows(0, np.float32([0.7, 0.6]), np.float32([1, 0.5])))
    return path


def test_every_changed_byte_of_a_log_is_found(log):
    extra, data = {LOG: log_digest(log)}, log.read_bytes()
    append_metrics(log, metrics_rows(2, np.float32([0.5]), np.float32([0.1])))
    assert find_log_corruption(log, extra) is None  # what comes later is written again
    for index in range(len(data)):
        log.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        assert "metrics.jsonl is corrupt" in str(find_log_corruption(log, extra))
        log.write_bytes(data[:index])
        assert "metrics.jsonl is truncated" in str(find_log_corruption(log, extra))
    log.unlink()
    assert "metrics.jsonl is missing" in str(find_log_corruption(log, extra))


def test_a_log_is_cut_where_its_checkpoint_ends(log):
    extra, data = {LOG: log_digest(log)}, log.read_bytes()
    for known in (extra, {}):  # an older checkpoint says nothing of the log
        append_metrics(log, metrics_rows(2, np.float32([0.5]), np.float32([0.1])))
        assert last_loss(log) == 0.5
        cut_metrics(log, 2, known)
        assert log.read_bytes() == data
    log.write_bytes(b"x" + data[1:])
    with pytest.raises(ValueError, match=r"metrics\.jsonl is corrupt: .* move it away, and the ru"):
        cut_metrics(log, 2, extra)
    assert log.read_bytes() == b"x" + data[1:]
    log.unlink()
    with pytest.warns(RuntimeWarning, match="missing: it goes on from step 2 without"):
        cut_metrics(log, 2, extra)
    assert last_loss(log) is None


def test_a_finished_run_does_not_tell_a_changed_loss(cache, copy):
    path = copy / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    last = {**json.loads(lines[-1]), "loss": 0.0}
    path.write_text("".join([*lines[:-1], json.dumps(last) + "\n"]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl is (corrupt|truncated)"):
        run_fit(cache, copy, QUICK, resume=True)
