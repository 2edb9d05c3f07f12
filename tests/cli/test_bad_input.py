"""Bad input: one line on standard error that names the place, status 2, nothing written. A case
more is a line more.
"""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from lora_adapters import matrices, write_adapter
from small_run import QUICK_OPTIONS, write_small_cache

from experiments.common.tiny_model import write_reward_model, write_sentence_encoder
from lore_jax.cli.main import main
from lore_jax.fitting.config import FitConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.model.saved import load, save
from lore_jax.runs.config import RunConfig, SplitConfig
from lore_jax.runs.run import run_fit
from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.storage.files import locked, with_checksum

HUGE = 10**400
GOOD = {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}
NUMBERS = {"user_id": "ann", "chosen": 0, "rejected": 1}
RATING = {"user_id": "ann", "response": 0, "rating": 3}
REFERENCE_HEAD = RunConfig(
    fit=FitConfig(ReferenceConfig()), split=SplitConfig(items=("new items",)), devices=1
)


@dataclasses.dataclass
class Here:
    """A scratch folder, the working directory, with whatever a case puts there; and good things to
    combine it with.
    """

    folder: Path
    good: Path

    def rows(self, *rows, name="pairs.jsonl"):
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def write(self, name, content):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    def array(self, array, name="table.npy", **options):
        np.save(self.folder / name, array, **options)
        return name

    def results(self, **fields):
        content = {"format": 5, **NO_RESULTS, **fields}
        return self.write("results.json", with_checksum(content, compact=True))

    def pipe(self, name):
        os.mkfifo(self.folder / name)
        return name

    def copy(self, name):
        return shutil.copytree(self.good / name, self.folder / name).name

    def corrupt(self, name, file, change=lambda data: data[:-1] + bytes([data[-1] ^ 1])):
        path = self.folder / self.copy(name) / file
        path.write_bytes(change(path.read_bytes()))
        return name

    def rewrite(self, name, file, **changes):
        def change(data):
            content = json.loads(data)
            del content["sha256"]
            return with_checksum({**content, **changes})

        return self.corrupt(name, file, change)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    write_small_cache(folder / "cache")
    write_small_cache(folder / "other encoder", encoder="other")
    write_small_cache(folder / "other dim", dim=7)
    write_small_cache(folder / "other cache", seed=1)
    run_fit(folder / "cache", folder / "run", REFERENCE_HEAD)
    run_fit(
        folder / "cache",
        folder / "all",
        dataclasses.replace(REFERENCE_HEAD, split=SplitConfig(everything=True)),
    )
    save(folder / "nobody", load(folder / "run" / "model")[0])
    return folder


NO_RESULTS = {
    **{"name": "", "config": None, "seed": 0, "splits": [], "rows": [], "axes": {}},
    "measured": None,
    "machine": {
        **{"python": "", "packages": {}, "platform": "", "device": "", "devices": 1, "cores": 1}
    },
}
RESULTS = with_checksum({"format": 5, **NO_RESULTS}, compact=True).decode()
EYE = np.eye(4, dtype=np.float32)
GIVEN = ["--embeddings", "table.npy", "--encoder", "eye", "--out", "out"]
NAN = np.where(np.arange(16).reshape(4, 4) == 9, np.nan, EYE)
NAN_ROWS = np.where(np.arange(48).reshape(4, 12) == 25, np.nan, np.ones(12)).astype(np.float32)
ENDLESS = "{% for i in range(10**9) %}x{% endfor %}"
RESUME = ["--method", "reference", "--split.items", "new items", "--devices", "1", "--resume"]


def prepare(here, *rows, array=EYE, options=GIVEN):
    here.array(array)
    return ["prepare", here.rows(*rows), *options]


def polis(here, comments="comment-id,moderated,comment-body\n0,1,Trees.\n", votes=None):
    here.write("talk/comments.csv", comments)
    if votes is not None:
        here.write("talk/votes.csv", "timestamp,comment-id,voter-id,vote\n" + votes)
    here.array(EYE[:1])
    return ["prepare", "talk", *GIVEN]


def changed_results(here):
    """Results of which one number was changed by hand."""
    content = {"format": 4, "rows": [], "splits": [], "axes": {}, "seed": 1}
    changed = with_checksum(content, compact=True).replace(b'"seed":1', b'"seed":2')
    return here.write("results.json", changed)


def fit_long_row(here):
    """A cache whose first row has norm 1e25: its square is no float32."""
    with CacheWriter(here.folder / "long", dim=4, dtype="float32", encoder={}) as writer:
        writer.append(EYE * np.float32([1e25, 1, 1, 1]))
        sides = {"chosen": [0, 2], "rejected": [1, 3], "user": [0, 0], "prompt": [0, 1]}
        writer.finish(**sides, user_ids=["ann"])
    return ["fit", "long", "--out", "out", "--split.everything"]


def fit(*options):
    return lambda here: ["fit", here.copy("cache"), "--out", "out", *options]


def pick(*options):
    return lambda here: ["pick", here.copy("run"), here.copy("cache"), "--out", "p.jsonl", *options]


def merge(here, **row):
    adapters = [write_adapter(here.folder / name, matrices(0)).name for name in ("one", "two")]
    users = here.rows({"user_id": "ann", "weights": [0.5, 0.5], **row}, name="users.jsonl")
    return ["merge", *adapters, "--users", users, "--out", "out"]


def prepare_csv(here, text):
    here.array(EYE)
    return ["prepare", here.write("rows.csv", "user_id,prompt,chosen,rejected\n" + text), *GIVEN]


def loop(here):
    """A link to itself."""
    os.symlink("loop", here.folder / "loop")
    return "loop"


def embed(here, config):
    """With a model whose config.json holds this."""
    here.write("model/config.json", json.dumps(config))
    return ["embed", here.rows(GOOD), "--model", "model", "--out", "out"]


# name: (what to run, made in a `Here`; what the one line must hold, a regular expression)
CASES = {
    # The command line itself.
    "misspelt command": (
        lambda here: ["prepar"],
        "there is no command 'prepar': is prepare meant?",
    ),
    "strange command": (lambda here: ["xyzzy"], r"there is no command 'xyzzy'\."),
    "misspelt option": (
        lambda here: ["prepare", "x", "--overwite"],
        "--overwite: is --overwrite meant?",
    ),
    "unknown option": (
        lambda here: ["fit", "x", "--out", "y", "--frobnicate"],
        r"there is no option --frobnicate\.",
    ),
    "misspelt option, another missing": (
        lambda here: ["fit", "cache", "--ot", "y"],
        "there is no option --ot: is --out meant?",
    ),
    "one word too many": (
        lambda here: ["inspect", "cache", "run"],
        "unrecognized arguments: run",
    ),
    "missing argument": (
        lambda here: ["inspect"],
        "inspect: the following arguments are required: PATH",
    ),
    "missing option": (
        lambda here: ["fit", "cache"],
        "fit: the following arguments are required: --out",
    ),
    "option without value": (
        lambda here: ["prepare", "x", "--out"],
        "argument --out: expected one argument",
    ),
    "option of another type": (
        lambda here: ["fit", "x", "--out", "y", "--seed", "red"],
        "argument --seed: invalid int value: 'red'",
    ),
    "option of no choice": (
        lambda here: ["fit", "x", "--out", "y", "--method", "cauchy"],
        "--method is 'cauchy': 'gaussian' or 'simplex'",
    ),
    "an empty command": (lambda here: [""], "there is no command ''."),
    "a name that no file can have": (
        lambda here: ["inspect", "x" * 5000],
        "x: File name too long",
    ),
    "a link to itself": (
        lambda here: ["prepare", loop(here), *GIVEN],
        "loop: Too many levels of symbolic links",
    ),
    "a value for a switch": (fit("--resume=maybe"), "--resume: ignored explicit argument 'maybe'"),
    "a shell that is not known": (lambda here: ["completion", "fish"], "invalid choice: 'fish'"),
    # rows
    "a member twice": (
        lambda here: [
            *prepare(here),
            here.write("pairs.jsonl", json.dumps(NUMBERS).replace("{", '{"user_id": "bob", ')),
        ][:-1],
        "line 1: holds 'user_id' twice: each name once is expected",
    ),
    "a column twice": (
        lambda here: [
            *prepare_csv(here, ""),
            here.write("rows.csv", "user_id,user_id,prompt,chosen,rejected\na,b,c,d,e\n"),
        ][:-1],
        "rows.csv: column 'user_id' is there twice: once is expected",
    ),
    "a quote that does not end": (
        lambda here: prepare_csv(here, 'ann,"Tea?,Yes.,No.\n'),
        "rows.csv line 2: unexpected end of data",
    ),
    "a field too few": (
        lambda here: prepare_csv(here, "ann,Tea?,Yes.\n"),
        "rows.csv line 2: 3 fields, the header has 4",
    ),
    "UTF-16": (
        lambda here: [
            "prepare",
            here.write("x.jsonl", json.dumps(NUMBERS).encode("utf-16")),
            *GIVEN,
        ],
        "x.jsonl line 1: byte 0 is not UTF-8",
    ),
    "zeros instead of rows": (
        lambda here: ["prepare", here.write("x.jsonl", b"\0" * 4096), *GIVEN],
        "x.jsonl line 1: not a whole JSON object",
    ),
    "an array of rows": (
        lambda here: ["prepare", here.write("x.jsonl", json.dumps([NUMBERS])), *GIVEN],
        "x.jsonl line 1: a list: one JSON object a line",
    ),
    "a user that is a list": (
        lambda here: prepare(here, {**NUMBERS, "user_id": ["ann"]}),
        "line 1: user_id is a list: a text or an integer",
    ),
    "a user without a name": (
        lambda here: prepare(here, {**NUMBERS, "user_id": ""}),
        "line 1: user_id is empty",
    ),
    "true for a row": (
        lambda here: prepare(here, {**NUMBERS, "chosen": True}),
        "line 1: chosen is true or false",
    ),
    "a row before the first": (
        lambda here: prepare(here, {**NUMBERS, "chosen": -1}),
        "line 1: chosen is -1, outside the embeddings of 4 rows",
    ),
    "bad rows alone": (
        lambda here: prepare(here, {**NUMBERS, "rejected": 9}, options=[*GIVEN, "--skip-bad"]),
        "pairs.jsonl holds no rows: 1 bad ones, the first: pairs.jsonl line 1: rejected is 9",
    ),
    "fewer than no pairs": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN, "--max-pairs", "-1"]),
        "max_pairs is -1: 1 or more",
    ),
    "a scale upside down": (
        lambda here: prepare(here, RATING, options=[*GIVEN, "--scale", "5", "1"]),
        r"scale is \(5, 1\): the lowest rating and a higher one",
    ),
    "a list over its rows": (
        lambda here: ["prepare", here.rows(GOOD), "--list-responses", "pairs.jsonl"],
        "pairs.jsonl is there already",
    ),
    "no such file": (
        lambda here: ["prepare", "nothing.jsonl", *GIVEN],
        "nothing.jsonl: No such file",
    ),
    "empty file": (lambda here: ["prepare", here.write("x.jsonl", ""), *GIVEN], "x.jsonl is empty"),
    "blank file": (
        lambda here: ["prepare", here.write("x.jsonl", "\n\n"), *GIVEN],
        "x.jsonl holds no rows",
    ),
    "error page": (
        lambda here: ["prepare", here.write("x.jsonl", "<html><body>Sorry"), *GIVEN],
        "x.jsonl line 1.*HTML.*was an error page downloaded",
    ),
    "half a row": (
        lambda here: [
            *prepare(here),
            here.write("pairs.jsonl", json.dumps(NUMBERS) + '\n{"user_id": "b'),
        ][:-1],
        "pairs.jsonl line 2: not a whole JSON object",
    ),
    "not UTF-8": (
        lambda here: ["prepare", here.write("x.jsonl", b'{"user_id": "\xff"}'), *GIVEN],
        "x.jsonl line 1: byte 13 is not UTF-8",
    ),
    "not Parquet": (
        lambda here: ["prepare", here.write("x.parquet", b"PAR1 and nothing more"), *GIVEN],
        "x.parquet is not a whole Parquet file",
    ),
    "missing column": (
        lambda here: prepare(here, {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes."}),
        "pairs.jsonl line 1: column 'rejected' is missing; found 'user_id', 'prompt', 'chosen'",
    ),
    "misspelt column": (
        lambda here: prepare(
            here, {**{"user": "ann"}, **{k: v for k, v in GOOD.items() if k != "user_id"}}
        ),
        "column 'user_id' is missing.*is 'user' meant for it",
    ),
    "null user": (
        lambda here: prepare(here, GOOD, {**GOOD, "user_id": None}),
        "line 2: user_id is null",
    ),
    "wrong type in row 17": (
        lambda here: prepare(here, *[GOOD] * 16, {**GOOD, "chosen": 3.5}),
        "line 17: .*chosen is a number",
    ),
    "chosen is rejected": (
        lambda here: prepare(here, {**GOOD, "rejected": "Yes."}),
        "line 1: chosen equals rejected",
    ),
    "two spellings": (
        lambda here: prepare(here, {**GOOD, "rejected": "['No.', 'Never.']"}),
        "line 1: rejected is a list rendered as text",
    ),
    "negative weight": (
        lambda here: prepare(here, {**NUMBERS, "weight": -1}),
        "line 1: weight is -1",
    ),
    "a weight of 400 digits": (
        lambda here: prepare(here, {**NUMBERS, "weight": HUGE}),
        r"line 1: weight is 10+\.\.\.: a number, finite and 0 or more",
    ),
    "a weight that float32 cannot hold": (
        lambda here: prepare(here, {**NUMBERS, "weight": 1e300}),
        r"line 1: weight is 1e\+300: a number, finite and 0 or more",
    ),
    "a weight of an answer of 400 digits": (
        lambda here: prepare(here, {**NUMBERS, "strength": 1, "weight": HUGE}),
        r"line 1: weight is 10+\.\.\.: a number, finite and 0 or more",
    ),
    "a rating of 400 digits": (
        lambda here: prepare(here, {**RATING, "rating": HUGE}),
        r"line 1: rating is 10+\.\.\.: a number, true or false, up or down",
    ),
    "a rating that is no number": (
        lambda here: prepare(here, {**RATING, "rating": float("nan")}),
        "line 1: rating is nan: a number, true or false, up or down",
    ),
    "a row of 400 digits": (
        lambda here: prepare(here, {**NUMBERS, "chosen": 0}, {**NUMBERS, "rejected": HUGE}),
        r"line 2: rejected is 10+\.\.\., outside the embeddings of 4 rows",
    ),
    "a choice of 400 digits": (
        lambda here: prepare(here, {"user_id": "ann", "responses": [0, 1], "choice": HUGE}),
        r"line 1: choice is 10+\.\.\.: a whole number from 0 to 1",
    ),
    "one response as a list of them": (
        lambda here: prepare(here, {"user_id": "ann", "responses": 3, "choice": 0}),
        "line 1: responses is an integer: a list is expected",
    ),
    "a number of more digits than Python reads": (
        lambda here: [
            *prepare(here),
            here.write("pairs.jsonl", json.dumps(NUMBERS).replace("1}", "9" * 5000 + "}")),
        ][:-1],
        "line 1: not a whole JSON object",
    ),
    "nested for ever": (
        lambda here: [
            *prepare(here),
            here.write("pairs.jsonl", json.dumps(NUMBERS).replace("1}", "[" * 10**5)),
        ][:-1],
        "line 1: not a whole JSON object",
    ),
    "half a character": (
        lambda here: prepare(here, {**NUMBERS, "user_id": "ann \ud800"}),
        r"line 1: holds a lone surrogate \('\\ud800'\): UTF-8 text is expected",
    ),
    "two files": (
        lambda here: ["prepare", here.rows(GOOD), here.rows(GOOD, name="b.jsonl"), "--out", "out"],
        "2 sources are given: one file, or Polis folders",
    ),
    # embeddings
    "index past the table": (
        lambda here: prepare(here, NUMBERS, {**NUMBERS, "rejected": 4}),
        "line 2: rejected is 4, outside the embeddings of 4 rows",
    ),
    "NaN in an embedding": (
        lambda here: prepare(here, NUMBERS, array=NAN),
        "table.npy: embeddings row 2 holds nan in column 1",
    ),
    "complex numbers": (
        lambda here: prepare(here, NUMBERS, array=EYE.astype(complex)),
        r"table.npy holds complex128 \[4, 4\]: floats",
    ),
    "a folder for an array": (
        lambda here: prepare(here, NUMBERS, options=["--embeddings", ".", *GIVEN[2:]]),
        r"\. is no regular file: an array",
    ),
    "NaN in a head": (
        lambda here: prepare(
            here, NUMBERS, options=[*GIVEN, "--head", here.array(EYE[0] * np.nan, "head.npy")]
        ),
        "head holds nan in entry 0",
    ),
    "an encoder without a name": (
        lambda here: prepare(
            here, NUMBERS, options=["--embeddings", "table.npy", "--encoder", "", "--out", "out"]
        ),
        "encoder is empty: the name of what made the embeddings",
    ),
    "infinite in float16": (
        lambda here: prepare(
            here, NUMBERS, array=EYE * 1e6, options=[*GIVEN, "--dtype", "float16"]
        ),
        "embeddings row 0 holds 1000000.0 in column 0, which float16 cannot hold",
    ),
    "integers": (
        lambda here: prepare(here, NUMBERS, array=np.eye(4, dtype=int)),
        "holds int64.*floats",
    ),
    "a vector": (
        lambda here: prepare(here, NUMBERS, array=EYE[0]),
        r"holds float32 \[4\]: floats \[responses, dim\]",
    ),
    "a pickled array": (
        lambda here: prepare(here, NUMBERS, array=np.array([{}])),
        "table.npy is not a whole .npy file of numbers",
    ),
    "a PyTorch file": (
        lambda here: [
            "prepare",
            here.rows(NUMBERS),
            "--embeddings",
            here.write("x.pt", "x"),
            *GIVEN[2:],
        ],
        "x.pt ends in '.pt'",
    ),
    "half an array": (
        lambda here: [
            "prepare",
            here.rows(NUMBERS),
            "--embeddings",
            here.write("table.npy", "\x93NUMPY"),
            *GIVEN[2:],
        ],
        "table.npy is not a whole .npy",
    ),
    "another number of rows": (
        lambda here: prepare(here, GOOD),
        "table.npy has 4 rows, pairs.jsonl has 2 distinct responses",
    ),
    "no encoder": (
        lambda here: prepare(here, NUMBERS, options=["--embeddings", "table.npy", "--out", "out"]),
        "--encoder is missing",
    ),
    "no embeddings": (
        lambda here: prepare(here, NUMBERS, options=["--out", "out"]),
        "--embeddings or --cache is miss",
    ),
    "texts without embeddings": (
        lambda here: prepare(here, GOOD, options=["--out", "out"]),
        "`lore-jax embed` embeds",
    ),
    "embeddings twice": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN, "--cache", "cache"]),
        "--embeddings and --cache are both given",
    ),
    "head of another dim": (
        lambda here: prepare(
            here, NUMBERS, options=[*GIVEN, "--head", here.array(EYE[0, :3], "head.npy")]
        ),
        r"head has shape \(3,\): \[4\]",
    ),
    "hash key for nothing": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN, "--hash-key", here.write("key", "k")]),
        "--hash-key is given without --hash-ids",
    ),
    "hash key empty": (
        lambda here: prepare(
            here, NUMBERS, options=[*GIVEN, "--hash-ids", "--hash-key", here.write("key", "")]
        ),
        "key is empty: a secret is expected in it",
    ),
    "hash key not there": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN, "--hash-ids", "--hash-key", "nokey"]),
        "nokey: No such file",
    ),
    "hash key that is a pipe": (
        lambda here: prepare(
            here, NUMBERS, options=[*GIVEN, "--hash-ids", "--hash-key", here.pipe("key")]
        ),
        "key is no regular file: one with an end is expected",
    ),
    "hash key that is a device": (
        lambda here: prepare(
            here, NUMBERS, options=[*GIVEN, "--hash-ids", "--hash-key", "/dev/zero"]
        ),
        "/dev/zero is no regular file: one with an end is expected",
    ),
    "hashed twice": (
        lambda here: prepare(
            here, {**NUMBERS, "user_id": "0123456789abcdef" * 4}, options=[*GIVEN, "--hash-ids"]
        ),
        "--hash-ids is given, but the users' names are hashes already",
    ),
    "name of a book": (
        lambda here: prepare(here, {**NUMBERS, "user_id": "x" * 100_000}),
        r"line 1: user_id has 100,000 characters: at most 1,000",
    ),
    "pipe": (
        lambda here: ["prepare", here.pipe("rows.jsonl"), *GIVEN],
        "rows.jsonl is no regular file",
    ),
    "a device": (
        lambda here: ["prepare", "/dev/zero", *GIVEN],
        "/dev/zero is no regular file: a file of rows is expected",
    ),
    "embeddings that are a pipe": (
        lambda here: [
            *("prepare", here.rows(NUMBERS), "--embeddings", here.pipe("table.npy"), *GIVEN[2:])
        ],
        "table.npy is no regular file: an array in .npy or .safetensors is expected",
    ),
    "a head that is a pipe": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN, "--head", here.pipe("head.npy")]),
        "head.npy is no regular file",
    ),
    "a row that float32 cannot hold": (
        lambda here: prepare(here, NUMBERS, array=EYE.astype(float) * 1e300),
        r"table.npy: embeddings row 0 holds 1e\+300 in column 0, which float32 cannot hold",
    ),
    "a row whose norm float32 cannot hold": (
        fit_long_row,
        "embeddings row 0 is so long that float32 cannot hold the square of its norm",
    ),
    # Polis
    "no conversation": (
        lambda here: polis(here, comments="x"),
        "column 'comment-id' is missing; found 'x'",
    ),
    "no votes": (lambda here: polis(here), "participants-votes.csv is missing"),
    "vote on nothing": (
        lambda here: polis(here, votes="1,5,7,1\n"),
        "votes.csv line 2: a vote on comment 5",
    ),
    "vote of 3": (lambda here: polis(here, votes="1,0,7,3\n"), "votes.csv line 2: vote is 3"),
    # where to write
    "a cache is there": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN[:-1], here.copy("cache")]),
        "cache holds a cache already",
    ),
    "something is there": (
        lambda here: prepare(
            here, NUMBERS, options=[*GIVEN[:-1], here.write("thesis/a.tex", "").split("/")[0]]
        ),
        "thesis holds 'a.tex', which is no part of a cache",
    ),
    "a file is there": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN[:-1], here.write("file", "")]),
        "file is a file",
    ),
    "below a file": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN[:-1], here.write("file", "") + "/out"]),
        "file.*(File exists|Not a directory)",
    ),
    "a disk for reading only": (
        lambda here: prepare(here, NUMBERS, options=[*GIVEN[:-1], "/sys/out"]),
        "/sys/.*(Read-only|not permitted|denied)",
    ),
    # a cache
    "no cache": (lambda here: ["fit", "nothing", "--out", "out"], "nothing is not a cache"),
    "truncated shard": (
        lambda here: [
            "fit",
            here.corrupt("cache", "embeddings-00000.safetensors", lambda d: d[:-5]),
            "--out",
            "out",
        ],
        "embeddings-00000.safetensors is truncated",
    ),
    "flipped bit in a shard": (
        lambda here: ["fit", here.corrupt("cache", "embeddings-00000.safetensors"), "--out", "out"],
        "embeddings-00000.safetensors is corrupt",
    ),
    "flipped bit in the pairs": (
        lambda here: ["fit", here.corrupt("cache", "pairs.safetensors"), "--out", "out"],
        "pairs.safetensors is corrupt",
    ),
    "corrupt manifest": (
        lambda here: ["fit", here.corrupt("cache", "manifest.json"), "--out", "out"],
        "manifest.json is corrupt",
    ),
    "dim other than the manifest's": (
        lambda here: ["fit", here.rewrite("cache", "manifest.json", dim=13), "--out", "out"],
        r"embeddings-00000.safetensors holds float32 \[120, 12\]: float32 \[120, 13\] is expected",
    ),
    "dtype other than the manifest's": (
        lambda here: [
            "fit",
            here.rewrite("cache", "manifest.json", dtype="float16"),
            "--out",
            "out",
        ],
        r"holds float32 \[120, 12\]: float16 \[120, 12\] is expected",
    ),
    "newer cache": (
        lambda here: [
            "fit",
            here.rewrite("cache", "manifest.json", format_version=9),
            "--out",
            "out",
        ],
        "format version 9, this lore_jax reads 2: update lore_jax",
    ),
    "missing response in a cache": (
        lambda here: ["prepare", here.rows(GOOD), "--cache", here.copy("cache"), "--out", "out"],
        "cache lacks 2 of 2 responses, the first 'Yes.'",
    ),
    # fit
    "rank beyond dim": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--rank", "13"],
        "rank is 13: 1 to 12",
    ),
    "too few users": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--split.min-train", "11"],
        "0 of 25 users have 11 training pairs",
    ),
    "too few groups": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--folds", "1000"],
        "responses cannot fill 1000 folds",
    ),
    "negative ridge": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--ridge-deviation", "-1"],
        "ridge_deviation is -1.0",
    ),
    "a share above one": (fit("--split.unseen-users", "1.5"), "unseen_users is 1.5: a share"),
    "nothing to test on": (fit("--split.test", "0"), "test is 0.0: a share between 0 and 1"),
    "fewer than no pairs of a user": (fit("--split.min-train", "-3"), "min_train is -3: 0 or more"),
    "chunks without steps": (fit("--chunk", "0"), "chunk is 0: 1 or more"),
    "a time that is no number": (
        fit("--checkpoint-seconds", "nan"),
        "checkpoint_seconds is nan: 0",
    ),
    "no temperature": (
        fit("--method", "simplex", "--temperature", "0"),
        "temperature is 0.0: a posi",
    ),
    "a rate that is no number": (
        fit("--method", "simplex", "--learning-rate", "nan"),
        "learning_rate is nan: a positive number",
    ),
    "fewer than no components": (fit("--num-components", "-1"), "num_components is -1: 0, 2, 4, 8"),
    "the configuration of nothing": (
        fit("--config", "x/run.json"),
        "x is not a run: it has no run",
    ),
    "a cache without a name": (
        lambda here: ["fit", "", "--out", "out"],
        r"\. is not a cache: it has no manifest.json",
    ),
    "a run in its own cache": (
        lambda here: ["fit", here.copy("cache"), "--out", "cache"],
        "cache holds 'embeddings-00000.safetensors', which is no part of a run",
    ),
    "infinite ridge": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--ridge-population", "inf"],
        "ridge_population is inf: a positive number is expected",
    ),
    "endless effects": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--item-effects", "inf"],
        "item_effects is inf: 0 or more, and finite, is expected",
    ),
    "an endless anchor": (
        lambda here: [
            *("fit", here.copy("cache"), "--out", "out"),
            *("--method", "simplex", "--anchor", "inf"),
        ],
        "anchor is inf: 0 or more, and finite, is expected",
    ),
    "no folds, and nothing to choose": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", *QUICK_OPTIONS, "--folds", "0"],
        "folds is 0: 2 or more are expected",
    ),
    "a hidden layer of no width": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--hidden", "0"],
        "hidden holds 0: widths of 1 to 65,536 are expected",
    ),
    "an absurd hidden layer": (
        lambda here: [
            *("fit", here.copy("cache"), "--out", "out"),
            *("--method", "simplex", "--hidden", "8", str(2**62)),
        ],
        "hidden holds 4611686018427387904: widths of 1 to 65,536 are expected",
    ),
    "an absurd rank behind a hidden layer": (
        lambda here: [
            *("fit", here.copy("cache"), "--out", "out"),
            *("--hidden", "8", "--rank", str(2**62)),
        ],
        "rank is 4611686018427387904: at most 65,536 is expected",
    ),
    "one fold": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--folds", "1"],
        "folds is 1: 2 or more are expected",
    ),
    "a seed of more than 64 bits": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--seed", str(2**70)],
        "argument --seed: 1180591620717411303.* is a number beyond 64 bits",
    ),
    "a negative seed": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--seed", "-1"],
        "seed is -1: 0 or more is expected",
    ),
    "a rank of more than 64 bits": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--rank", str(10**30)],
        "argument --rank: 1000.* is a number beyond 64 bits",
    ),
    "folds drawn for ever": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--repeats", "1000000000"],
        "repeats is 1000000000: 1 to 1,000 is expected",
    ),
    "no devices": (
        lambda here: ["fit", here.copy("cache"), "--out", "out", "--devices", "99"],
        "devices is 99: 1 to",
    ),
    "a run is there": (
        lambda here: ["fit", here.copy("cache"), "--out", here.copy("run")],
        "holds a run already",
    ),
    "resume and overwrite": (
        lambda here: [
            "fit",
            here.copy("cache"),
            "--out",
            here.copy("run"),
            "--resume",
            "--overwrite",
        ],
        "resume and overwrite are both asked for",
    ),
    "resumed with other options": (
        lambda here: [
            "fit",
            here.copy("cache"),
            "--out",
            here.copy("run"),
            *RESUME,
            "--seed",
            "4",
        ],
        r"cannot go on with seed 4 \(it has 0\)",
    ),
    "resumed with another cache": (
        lambda here: ["fit", here.copy("other cache"), "--out", here.copy("run"), *RESUME],
        "other cache is another cache than the one of",
    ),
    "corrupt run": (
        lambda here: [
            "fit",
            here.copy("cache"),
            "--out",
            here.corrupt("run", "run.json"),
            *RESUME,
        ],
        "run.json is corrupt",
    ),
    "newer run": (
        lambda here: ["evaluate", here.rewrite("run", "run.json", format_version=7)],
        "format version 7, this lore_jax reads 2: update lore_jax",
    ),
    "a field of a run is null": (
        lambda here: ["evaluate", here.rewrite("run", "run.json", steps=None)],
        "run.json: steps is null: a whole number of 0 or more is expected",
    ),
    "a field of a cache is a text": (
        lambda here: ["fit", here.rewrite("cache", "manifest.json", pairs="x"), "--out", "out"],
        "manifest.json: pairs is 'x': a whole number of 0 or more is expected",
    ),
    # adapt
    "another encoder": (
        lambda here: ["adapt", here.copy("run"), here.copy("other encoder"), "--out", "out"],
        "another encoder than run: model 'other' \\(fitted on 'synthetic'\\)",
    ),
    "another dim": (
        lambda here: ["adapt", here.copy("run"), here.copy("other dim"), "--out", "out"],
        "other dim has dim 7, run was fitted on dim 12",
    ),
    "adapted for nobody": (
        lambda here: ["adapt", here.copy("run"), here.copy("cache")],
        "--out and --export are both",
    ),
    "no model": (
        lambda here: ["adapt", here.copy("cache"), "cache", "--out", "out"],
        "cache is neither a run nor a sav",
    ),
    "unfinished run": (
        lambda here: [
            shutil.rmtree(here.folder / here.copy("run") / "model"),
            "adapt",
            "run",
            "cache",
            "--out",
            "o",
        ][1:],
        "run is not finished: `lore-jax fit --resume` goes on with it",
    ),
    "corrupt model": (
        lambda here: [
            "adapt",
            here.corrupt("run", "model/0/arrays/_METADATA"),
            here.copy("cache"),
            "--out",
            "out",
        ],
        "_METADATA is corrupt",
    ),
    "export is there": (
        lambda here: [
            "adapt",
            here.copy("run"),
            here.copy("cache"),
            "--export",
            here.write("users.parquet", "x"),
        ],
        "users.parquet is there already",
    ),
    "a model is there": (
        lambda here: ["adapt", here.copy("run"), here.copy("cache"), "--out", here.copy("nobody")],
        "holds a model already",
    ),
    "an export to a strange file": (
        lambda here: ["adapt", here.copy("run"), here.copy("cache"), "--export", "users.xls"],
        "users.xls ends in '.xls': .parquet is expected",
    ),
    # pick, relabel, merge, ask
    "a caution that is no number": (
        pick("--caution", "nan"),
        "caution is nan: a number of 0 or more",
    ),
    "surer than sure": (pick("--confidence", "2"), "confidence is 2.0: 0 or more and below 1"),
    "no draws": (pick("--draws", "0"), "draws is 0: 1 to 1,000,000"),
    "draws without an end": (
        pick("--draws", str(10**12)),
        "draws is 1000000000000: 1 to 1,000,000",
    ),
    "draws of a negative seed": (pick("--seed", "-1"), "seed is -1: 0 or more"),
    "pairs for somebody unknown": (
        lambda here: [
            *(
                "relabel",
                here.copy("run"),
                here.rows(GOOD),
                "--encoder",
                "model",
                "--out",
                "out.jsonl",
            ),
            *("--user", "zed"),
        ],
        "line 1: user 'zed' is not among the users of run",
    ),
    "a weight of an adapter of 400 digits": (
        lambda here: merge(here, weights=[0.5, HUGE]),
        r"user 'ann' has weights \[0.5, 10+\.\.\.: a user_id and 2 numbers",
    ),
    "weights for fewer adapters": (
        lambda here: merge(here, weights=[0.5]),
        r"user 'ann' has weights \[0.5\]: a user_id and 2 numbers",
    ),
    "a weight for another adapter": (
        lambda here: merge(here, weights={"three": 1}),
        "'three' is no adapter: 'one', 'two' are given",
    ),
    "answers of a strange criterion": (
        lambda here: ["ask", here.copy("run"), "--out", "a.jsonl", "--criterion", "luck"],
        "luck",
    ),
    # score
    "scores to a strange file": (
        lambda here: ["score", here.copy("run"), here.copy("cache"), "--out", "scores.xls"],
        "scores.xls ends in '.xls': .parquet or .jsonl",
    ),
    "scores are there": (
        lambda here: [
            "score",
            here.copy("run"),
            here.copy("cache"),
            "--out",
            here.write("s.jsonl", ""),
        ],
        "s.jsonl is there already",
    ),
    "best none": (
        lambda here: [
            "score",
            here.copy("run"),
            here.copy("cache"),
            "--out",
            "s.jsonl",
            "--top-k",
            "0",
        ],
        "top_k is 0",
    ),
    "scores for nobody": (
        lambda here: ["score", here.copy("nobody"), here.copy("cache"), "--out", "s.jsonl"],
        "nobody has no users: `lore-jax adapt` makes some",
    ),
    "candidates that are a pipe": (
        lambda here: ["score", here.copy("run"), here.pipe("rows.jsonl"), "--out", "s.jsonl"],
        "rows.jsonl is no regular file: a file of rows is expected",
    ),
    "candidates of another dim": (
        lambda here: ["score", here.copy("run"), here.array(EYE), "--out", "s.jsonl"],
        "table.npy has dim 4, run was fitted on dim 12",
    ),
    "NaN in a candidate": (
        lambda here: ["score", here.copy("run"), here.array(NAN_ROWS), "--out", "s.jsonl"],
        "candidate 2, row 2 of the embeddings, has a reward that is not finite",
    ),
    "NaN in a candidate that would be picked": (
        lambda here: ["pick", here.copy("run"), here.array(NAN_ROWS), "--out", "s.jsonl"],
        "candidate 2.* has a reward that is not finite",
    ),
    # evaluate
    "no run": (
        lambda here: ["evaluate", here.copy("cache")],
        "cache is not a run: it has no run.json",
    ),
    "all fitted": (
        lambda here: ["evaluate", here.copy("all")],
        "every pair of the run's cache was fitted",
    ),
    "tested on its training": (
        lambda here: [
            "evaluate",
            here.copy("run"),
            "--test",
            here.copy("cache"),
            "--out",
            "results.json",
        ],
        "cache holds [0-9]+ of 240 pairs that the run was fitted on, the first in row",
    ),
    "shots below none": (
        lambda here: ["evaluate", here.copy("run"), "--shots", "-3"],
        r"shots is \(-3,\)|--shots",
    ),
    "learning curve on other pairs": (
        lambda here: [
            *("evaluate", here.copy("run"), "--test", here.copy("other cache")),
            *("--learning-curve", "--out", "results.json"),
        ],
        "--learning-curve needs the unseen users of the run: --test has none",
    ),
    "learning curve without shots": (
        lambda here: ["evaluate", here.copy("run"), "--shots", "0", "--learning-curve"],
        r"shots is \(0,\): --learning-curve needs a number above 0",
    ),
    "strange license": (
        lambda here: ["evaluate", here.copy("run"), "--license", "all rights reserved"],
        "license is 'all rights reserved': an identifier like 'mit' is expected",
    ),
    "results are there": (
        lambda here: ["evaluate", here.copy("run"), "--out", here.write("results.json", "")],
        "results.json is there already",
    ),
    "another cache": (
        lambda here: ["evaluate", here.copy("run"), "--cache", here.copy("other cache")],
        "other cache is another cache than the one of",
    ),
    "corrupt split": (
        lambda here: ["evaluate", here.corrupt("run", "split.safetensors")],
        "split.safetensors is corrupt",
    ),
    "report of nothing": (
        lambda here: ["report", here.copy("cache"), "--out", "page.html"],
        "cache/results.json is not there: a run, or its results",
    ),
    "report of something else": (
        lambda here: ["report", here.write("results.json", "[]"), "--out", "page.html"],
        "results.json holds no results of an evaluation",
    ),
    "report without its learning curve": (
        lambda here: [
            *("report", here.write("results.json", RESULTS)),
            *("--out", "page.html", "--learning-curve"),
        ],
        "results.json has no learning curve: `lore-jax evaluate",
    ),
    "report without a title": (
        lambda here: [
            *("report", here.write("results.json", RESULTS)),
            *("--out", "page.html", "--title", ""),
        ],
        "title is empty: some words are expected",
    ),
    "a run twice in a report": (
        lambda here: ["report", here.copy("run"), "run", "--out", "page.html"],
        "run is given twice: results of different splits",
    ),
    "a run not evaluated, a report without a title": (
        lambda here: ["report", here.copy("run"), "--out", "page.html", "--title", " "],
        "title is empty: some words",
    ),
    "report of changed results": (
        lambda here: ["report", changed_results(here), "--out", "page.html"],
        "results.json is corrupt: its content does not agree with the sha256 it carries",
    ),
    "report of a device": (
        lambda here: ["report", "/dev/zero", "--out", "page.html"],
        "/dev/zero is not there: a run, or its results, is expected",
    ),
    "prepare with a negative seed": (
        lambda here: ["prepare", "pairs.jsonl", "--list-responses", "new.jsonl", "--seed", "-1"],
        "seed is -1: 0 or more is expected",
    ),
    "fit of endless steps": (
        lambda here: [
            "fit",
            "cache",
            "--out",
            "new",
            "--method",
            "simplex",
            "--steps",
            "9999999999",
        ],
        "steps is 9999999999: at most 2,147,483,647 are expected",
    ),
    "report of rows that are no rows": (
        lambda here: [
            *("report", here.results(rows=[{}])),
            *("--out", "page.html"),
        ],
        "results.json: rows\\[0\\] has no 'num_users'",
    ),
    "report of a number of users that is a text": (
        lambda here: ["report", here.results(seed="x"), "--out", "page.html"],
        "results.json: seed is 'x': a whole number is expected",
    ),
    "report into a folder": (
        lambda here: ["report", here.copy("run"), "--out", "page"],
        "--out is page: the name of an .html file",
    ),
    "report over something": (
        lambda here: ["report", here.copy("run"), "--out", here.write("page.html", "")],
        "page.html is there already",
    ),
    # embed
    "no model's folder": (
        lambda here: ["embed", here.rows(GOOD), "--model", "nothing", "--out", "out"],
        "nothing.*(missing|not|No)",
    ),
    "model's configuration is a list": (
        lambda here: embed(here, []),
        "model/config.json is an empty list: an object is expected",
    ),
    "a thousand million layers": (
        lambda here: embed(here, {"num_hidden_layers": 10**9}),
        "num_hidden_layers is 1000000000: a whole number of 1 to 10,000 is expected",
    ),
    "more digits than a number has": (
        lambda here: embed(here, {"rope_theta": 10**400}),
        "rope_theta is a number beyond 64 bits: a number is expected",
    ),
    "more tokens than the model knows": (
        lambda here: [
            *("embed", here.rows(GOOD), "--out", "out", "--model"),
            write_sentence_encoder(here.folder / "model", vocab_size=100, pad_token_id=99),
        ],
        "model: the tokenizer gives token [0-9]+, the weights have 100 tokens: they do not belong",
    ),
    "a template without an end": (
        lambda here: [
            *("embed", here.rows(GOOD), "--out", "out", "--model"),
            write_reward_model(here.folder / "model", template=ENDLESS),
        ],
        "the model's chat template fails: OverflowError, Range too big",
    ),
    # inspect
    "inspect nothing": (lambda here: ["inspect", "nothing"], "nothing does not exist"),
    "inspect a file": (lambda here: ["inspect", here.write("file", "")], "file is a file"),
    "inspect something else": (
        lambda here: ["inspect", here.write("thesis/a.tex", "").split("/")[0]],
        "thesis is neither a cache, nor a run, nor a saved model",
    ),
    # comparisons
    "demo for nobody": (
        lambda here: ["demo", "--users", "0", "--out", "out"],
        "num_users is 0: 1 or more is expected",
    ),
    "demo without a ridge": (
        lambda here: ["demo", "--ridge", "0", "--out", "out"],
        "ridge_population is 0.0: a positive number",
    ),
    "demo of a negative seed": (
        lambda here: ["demo", "--seed", "-3", "--out", "out"],
        "seed is -3: 0 or more",
    ),
    "demo for more people than there are": (
        lambda here: ["demo", "--users", str(10**12), "--out", "out"],
        "1000000000000 users with up to 60 pairs are too many: at most 2,147,483,647 rows",
    ),
    "demo of a rank beyond its dim": (
        lambda here: ["demo", "--rank", "100", "--out", "out"],
        "rank 100 is above dim 32: at most 32 is expected",
    ),
    "comparing with an unknown method": (
        lambda here: ["compare", here.copy("cache"), "--out", "out", "--methods", "gausian"],
        "there is no method 'gausian': is gaussian meant",
    ),
    "comparing no methods": (
        lambda here: ["compare", here.copy("cache"), "--out", "out", "--methods"],
        "no method is given: some of reference-head, ",
    ),
    "comparing no splits": (
        lambda here: ["compare", here.copy("cache"), "--out", "out", "--splits", "0"],
        "splits is 0: 1 to 1,000 is expected",
    ),
    "comparing for ever": (
        lambda here: ["compare", here.copy("cache"), "--out", "out", "--splits", str(2**62)],
        "splits is 4611686018427387904: 1 to 1,000 is expected",
    ),
    "comparing no items": (
        lambda here: ["compare", here.copy("cache"), "--out", "out", "--items"],
        "no items are given: 'new items', 'known items' or both",
    ),
    "comparing on what is no cache": (
        lambda here: ["compare", here.write("x/a.txt", "").split("/")[0], "--out", "out"],
        "x is not a cache: it has no manifest.json",
    ),
    "comparing into a file": (
        lambda here: ["compare", here.copy("cache"), "--out", here.write("out", "")],
        "out is a file: a folder, new or of a comparison, is expected",
    ),
    "comparing into another folder": (
        lambda here: ["compare", here.copy("cache"), "--out", here.copy("run")],
        "run holds 'model', which is no part of a comparison: choose another folder",
    ),
    "comparing after negative shots": (
        lambda here: ["compare", here.copy("cache"), "--out", "out", "--shots", "-1"],
        r"compare: shots is \(-1,\): numbers of 0 or more are expected",
    ),
}


def snapshot(folder):
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("name", CASES)
def test_one_line_status_2_and_nothing_written(name, good, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make, expected = CASES[name]
    arguments = make(Here(tmp_path, good))
    before = snapshot(tmp_path)
    assert main(list(map(str, arguments))) == 2
    said = capsys.readouterr()
    assert said.out == ""
    # `fit` says before the error what it would have kept for the test.
    error = re.sub(r"lore-jax: (groups: |only |\d+ unseen users are)[^\n]+\n", "", said.err)
    assert re.fullmatch(r"lore-jax: [^\n]+\n", error), said.err
    assert re.search(expected, error), said.err
    assert snapshot(tmp_path) == before


def test_there_are_enough_cases():
    assert len(CASES) >= 40


def test_a_full_disk_says_which_file_and_leaves_nothing(tmp_path, monkeypatch, capsys, good):
    monkeypatch.chdir(tmp_path)
    arguments = prepare(Here(tmp_path, good), NUMBERS)
    before = snapshot(tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(arguments) == 2
    assert re.fullmatch(r"lore-jax: \S+: No space left on device\n", capsys.readouterr().err)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("command", ["prepare", "fit", "adapt"])
def test_two_processes_one_folder(command, tmp_path, monkeypatch, capsys, good):
    monkeypatch.chdir(tmp_path)
    here = Here(tmp_path, good)
    arguments = {
        "prepare": lambda: prepare(here, NUMBERS),
        "fit": lambda: ["fit", here.copy("cache"), "--out", "out", *QUICK_OPTIONS],
        "adapt": lambda: ["adapt", here.copy("run"), here.copy("cache"), "--out", "out"],
    }[command]()
    with locked(tmp_path / "out.lock"):
        before = snapshot(tmp_path)
        assert main(arguments) == 2
        assert snapshot(tmp_path) == before
    assert f"out.lock is held by process {os.getpid()}" in capsys.readouterr().err
