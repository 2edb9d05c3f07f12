"""Comparisons to a cache: resumed bit by bit, and checked against the model's own logits."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.common.tiny_model import write_reward_model
from lore_jax.datasets.formats.rows import Response, read_text_pairs
from lore_jax.embed import EmbedConfig, embed_pairs, embed_texts, load_encoder, pairs, texts
from lore_jax.storage.cache.manifest import read_manifest
from lore_jax.storage.cache.reader import load_cache, read_rows, read_texts
from lore_jax.storage.cache.writer import CacheWriter

ONE_DEVICE = jax.devices()[:1]


@pytest.fixture
def folder(reward_folder):
    return reward_folder


@pytest.fixture
def encoder(reward):
    return reward


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(pairs, "_ROWS_PER_SHARD", 16)
    monkeypatch.setattr(texts, "_BATCHES_PER_CHUNK", 2)


def write_rows(path, number=60):
    rows = [
        {
            "user_id": f"user {row % 7}",
            "prompt": f"Question {row // 3} of some length?",
            "chosen": f"Answer {row} " * (1 + row % 4),
            "rejected": f"No {row % 50} " * (1 + row % 3),
            "topic": row % 2,
        }
        for row in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@pytest.fixture
def comparisons(tmp_path):
    write_rows(tmp_path / "pairs.jsonl")
    return read_text_pairs(tmp_path / "pairs.jsonl")


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_cache_holds_what_was_compared(comparisons, encoder, tmp_path):
    report = embed_pairs(comparisons, encoder, tmp_path / "cache")
    assert report == (tmp_path / "cache", len(comparisons.responses), 0, 0, 0)
    prefs = load_cache(tmp_path / "cache")
    given = np.argsort(prefs.row)
    np.testing.assert_array_equal(prefs.chosen[given], comparisons.chosen)
    np.testing.assert_array_equal(prefs.rejected[given], comparisons.rejected)
    np.testing.assert_array_equal(prefs.prompt[given], comparisons.prompt)
    assert prefs.user_ids.tolist() == comparisons.user_ids
    np.testing.assert_array_equal(prefs.head, encoder.head)
    conversations = [
        [*response.prompt, {"role": "assistant", "content": response.reply}]
        for response in comparisons.responses
    ]
    np.testing.assert_array_equal(prefs.embeddings, embed_texts(conversations, encoder))
    stored = list(read_texts(tmp_path / "cache"))
    assert stored[3] == (comparisons.responses[3].prompt, comparisons.responses[3].reply)


def test_the_manifest_says_what_made_it(comparisons, encoder, tmp_path):
    embed_pairs(comparisons, encoder, tmp_path / "cache")
    made_by = read_manifest(tmp_path / "cache")["encoder"]
    assert made_by == encoder.describe()
    assert made_by["model"] == "reward"
    assert made_by["pooling"] == "last_non_pad"
    assert made_by["dtype"] == "float32"
    assert made_by["max_length"] == 512
    assert len(made_by["sha256"]) == len(made_by["template_sha256"]) == 64


def test_bfloat16_agrees_with_its_own_head(comparisons, folder, tmp_path):
    half = load_encoder(folder, EmbedConfig(dtype="bfloat16", batch_tokens=256), devices=ONE_DEVICE)
    embed_pairs(comparisons, half, tmp_path / "cache")
    assert load_cache(tmp_path / "cache").embeddings.dtype.name == "bfloat16"


@pytest.mark.parametrize("store", ["float16", "bfloat16"])
def test_the_table_is_stored_as_asked(comparisons, folder, encoder, store, tmp_path):
    other = load_encoder(folder, EmbedConfig(store=store, batch_tokens=256), devices=ONE_DEVICE)
    embed_pairs(comparisons, other, tmp_path / "half")
    embed_pairs(comparisons, encoder, tmp_path / "full")
    half, full = load_cache(tmp_path / "half").embeddings, load_cache(tmp_path / "full").embeddings
    assert half.dtype.name == store
    np.testing.assert_array_equal(half, np.asarray(full).astype(half.dtype))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("rows_before", [0, 1, 16, 40, 95])
def test_an_interrupted_run_goes_on_and_ends_bit_identical(
    comparisons, encoder, rows_before, tmp_path, monkeypatch
):
    embed_pairs(comparisons, encoder, tmp_path / "whole")
    written = 0

    def append_some(self, rows):
        nonlocal written
        if written + len(rows) > rows_before:
            append(self, rows[: rows_before - written])
            raise KeyboardInterrupt
        written += len(rows)
        append(self, rows)

    append = CacheWriter.append
    monkeypatch.setattr(CacheWriter, "append", append_some)
    with pytest.raises(KeyboardInterrupt):
        embed_pairs(comparisons, encoder, tmp_path / "cache")
    monkeypatch.setattr(CacheWriter, "append", append)
    assert not (tmp_path / "cache").exists()
    report = embed_pairs(comparisons, encoder, tmp_path / "cache")
    assert report.resumed_from == rows_before // 16 * 16
    assert files_of(tmp_path / "cache") == files_of(tmp_path / "whole")


KILLED = """
import os, signal, sys
from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.datasets.formats.rows import read_text_pairs
from lore_jax.embed import EmbedConfig, embed_pairs, pairs, texts

pairs._ROWS_PER_SHARD, texts._BATCHES_PER_CHUNK = 16, 2
append = CacheWriter.append

def append_and_die(self, rows):
    append(self, rows)
    if self.rows_done >= 32:
        os.kill(os.getpid(), signal.SIGKILL)

CacheWriter.append = append_and_die
embed_pairs(read_text_pairs(sys.argv[1]), sys.argv[2], sys.argv[3], EmbedConfig(batch_tokens=256))
"""


@pytest.mark.usefixtures("small_shards")
def test_a_killed_process_goes_on_and_ends_bit_identical(comparisons, folder, encoder, tmp_path):
    out = tmp_path / "cache"
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "pairs.jsonl"), str(folder), str(out)],
        cwd=root,
        env=os.environ
        | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},  # one device, compiled as here
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    report = embed_pairs(comparisons, encoder, out)
    assert report.resumed_from >= 32
    embed_pairs(comparisons, encoder, tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_a_full_disk_keeps_the_rows_already_done(comparisons, encoder, tmp_path, monkeypatch):
    def full_after_two(self):
        if len(self._shards) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", "shard")
        write_shard(self)

    write_shard = CacheWriter._write_shard
    monkeypatch.setattr(CacheWriter, "_write_shard", full_after_two)
    with pytest.raises(OSError, match="No space left"):
        embed_pairs(comparisons, encoder, tmp_path / "cache")
    monkeypatch.setattr(CacheWriter, "_write_shard", write_shard)
    assert embed_pairs(comparisons, encoder, tmp_path / "cache").resumed_from == 32


def stop(*_, **__):
    raise KeyboardInterrupt


def test_another_model_does_not_go_on_where_this_one_stopped(
    comparisons, encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(pairs, "_ROWS_PER_SHARD", 16)
    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            embed_pairs(comparisons, encoder, tmp_path / "cache")
    other = write_reward_model(tmp_path / "other", rms_norm_eps=1e-3)
    with pytest.raises(FileExistsError, match=r"interrupted write of \d+ rows with other encoder"):
        embed_pairs(comparisons, load_encoder(other, devices=ONE_DEVICE), tmp_path / "cache")


def test_the_reference_head_is_the_models_own_logit_or_the_run_stops(
    comparisons, encoder, tmp_path, monkeypatch
):
    embed_pairs(comparisons, encoder, tmp_path / "right")
    own_logits = pairs.own_logits
    # As if the stored head were another row: what the model answers is not what head . embedding
    # gives.
    monkeypatch.setattr(pairs, "own_logits", lambda e, ids: own_logits(e, ids)[::-1])
    with pytest.raises(
        ValueError, match=r"pair 0, chosen: head \. embedding is .*, the model's own logit is"
    ):
        embed_pairs(comparisons, encoder, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    "broken",
    [
        {"head": np.ones(32, np.float32)},
        {"pooling": "first"},
        {"pooling": "mean"},
    ],
)
def test_a_wrong_head_or_a_wrong_token_is_noticed(
    comparisons, encoder, broken, tmp_path, monkeypatch
):
    if "head" in broken:
        right, own_logits = encoder, pairs.own_logits
        monkeypatch.setattr(pairs, "own_logits", lambda _, ids: own_logits(right, ids))
        wrong = dataclasses.replace(encoder, **broken)
    else:
        wrong = dataclasses.replace(
            encoder, pooling=dataclasses.replace(encoder.pooling, mode=broken["pooling"])
        )
    with pytest.raises(ValueError, match=r"head \. embedding is"):
        embed_pairs(comparisons, wrong, tmp_path / "cache")


def test_a_pair_whose_sides_differ_in_more_than_the_reply_is_refused(
    comparisons, encoder, tmp_path
):
    responses = list(comparisons.responses)
    leaking = responses[comparisons.rejected[4]]
    responses[comparisons.rejected[4]] = Response(
        [{"role": "user", "content": "Something else?"}], leaking.reply
    )
    with pytest.raises(ValueError, match="pair 4: chosen and rejected answer different prompts"):
        embed_pairs(
            dataclasses.replace(comparisons, responses=responses), encoder, tmp_path / "cache"
        )
    assert not list(tmp_path.glob("cache*"))


TURN = {"role": "user", "content": "Why?"}
BAD = {
    "empty reply": (TURN, " ", "pair 4, rejected: reply is an empty reply"),
    "list as text": (TURN, "['a', 'b']", "pair 4, rejected: reply is a list rendered as text"),
    "special token": (TURN, "a<|start|>b", "pair 4, rejected: reply holds the special token"),
    "unknown role": (
        {"role": "bot", "content": "Why?"},
        "a",
        "pair 4, (chosen|rejected): prompt: message 0 has role 'bot'",
    ),
    "not alternating": (
        [TURN, TURN],
        "a",
        "pair 4, (chosen|rejected): prompt: message 1 is the turn of 'user'",
    ),
    "not a text": (TURN, None, "pair 4, rejected: reply is a NoneType"),
    "not UTF-8": (TURN, "\ud83d", "pair 4, rejected: reply has a lone surrogate"),
    "too long": (
        TURN,
        "x" * 600,
        "pair 4, rejected: the reply has 600 tokens, with its prompt too many for 512",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_responses_are_named_and_nothing_is_written(name, comparisons, encoder, tmp_path):
    prompt, reply, message = BAD[name]
    prompt = prompt if isinstance(prompt, list) else [prompt]
    responses = list(comparisons.responses)
    chosen, rejected = comparisons.chosen[4], comparisons.rejected[4]
    responses[chosen] = Response(prompt, responses[chosen].reply)
    responses[rejected] = Response(prompt, reply)
    with pytest.raises(ValueError, match="^" + message) as error:
        embed_pairs(
            dataclasses.replace(comparisons, responses=responses), encoder, tmp_path / "cache"
        )
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache*"))


def test_cut_conversations_are_counted(folder, comparisons, tmp_path):
    short = load_encoder(folder, EmbedConfig(max_length=72), devices=ONE_DEVICE)
    report = embed_pairs(comparisons, short, tmp_path / "cache")
    full = load_encoder(folder, devices=ONE_DEVICE)
    prompts = {json.dumps(response.prompt) for response in comparisons.responses}
    rendered = [
        (json.dumps(prompt), [*prompt, {"role": "assistant", "content": reply}])
        for prompt, reply in comparisons.responses
    ]
    ids = full.renderer.token_ids(
        [full.renderer.tokenizer.render_chat(turns) for _, turns in rendered]
    )
    too_long = {prompt for (prompt, _), text in zip(rendered, ids, strict=True) if len(text) > 72}
    assert 0 < len(too_long) < len(prompts)
    assert report.cut_prompts == len(too_long)
    assert report.cut_replies == sum(prompt in too_long for prompt, _ in rendered)


def test_a_row_can_be_read_alone(comparisons, encoder, tmp_path):
    embed_pairs(comparisons, encoder, tmp_path / "cache")
    rows = read_rows(tmp_path / "cache", 3, 5)
    np.testing.assert_array_equal(rows, load_cache(tmp_path / "cache").embeddings[3:5])
