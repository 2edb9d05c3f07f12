"""The tokenizer of a model's folder, and what importing it shows on the screen."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.common.tiny_model import (
    TEMPLATE,
    write_tokenizer,
)
from lore_jax.embed.tokenizer import load_tokenizer


@pytest.mark.parametrize(
    "date", ["{{ strftime_now('%d %b %Y') }}", "{% if date_string %}{{ date_string }}{% endif %}"]
)
def test_a_template_that_prints_the_date_prints_the_same_one_every_day(tmp_path, date):
    write_tokenizer(tmp_path, date + TEMPLATE)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.render_chat([{"role": "user", "content": "Hi"}]).startswith(
        "26 Jul 2024<|bos|>"
    )


def test_the_template_and_its_date_have_a_digest(tmp_path):
    write_tokenizer(tmp_path)
    first = load_tokenizer(tmp_path).template_sha256
    assert len(first) == 64
    assert load_tokenizer(tmp_path).template_sha256 == first
    write_tokenizer(tmp_path, TEMPLATE + "!")
    assert load_tokenizer(tmp_path).template_sha256 != first
    write_tokenizer(tmp_path, None)
    assert load_tokenizer(tmp_path).template_sha256 is None


def test_tokens_of_a_text(tmp_path):
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    (short, long) = tokenizer.token_ids(["ab", "ab<|end|>"], add_special_tokens=False)
    assert len(short) == 2
    assert tokenizer.special_tokens[int(long[2])] == "<|end|>"
    assert long.dtype == np.int32
    assert tokenizer.token_ids([], add_special_tokens=False) == []
    assert tokenizer.token_starts("aäb") == [0, 1, 1, 2]  # a token is a byte here


SCRIPT = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # also where PyTorch is installed
from lore_jax.embed.tokenizer import load_tokenizer
assert "transformers" not in sys.modules
load_tokenizer(Path(sys.argv[1]))
import logging, transformers, warnings
assert transformers.AutoTokenizer and logging.getLogger("other").isEnabledFor(logging.WARNING)
logging.getLogger("transformers").warning("later warnings are shown")
"""


def test_transformers_is_imported_late_and_without_advice(reward_folder):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(reward_folder)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"TRANSFORMERS_NO_ADVISORY_WARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert result.stdout == ""
    assert result.stderr == "[transformers] later warnings are shown\n"


def truncate(path, fraction=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            FileNotFoundError,
            "has no tokenizer.json",
        ),
        (
            lambda folder: truncate(folder / "tokenizer.json"),
            ValueError,
            "the tokenizer in .* cannot be loaded",
        ),
    ],
)
def test_a_folder_without_a_whole_tokenizer_is_refused(expect_refusal, damage, error, message):
    expect_refusal(damage, error, message)
