"""A model's files from the Hugging Face hub, into the hub's own cache."""

from __future__ import annotations

import re
from pathlib import Path

# Configurations, tokenizer and safetensors: nothing that is code or could run some.
_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.txt"]
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def fetch_model(name: str) -> Path:
    """The folder of a model of the hub, fetched if it is not there yet.

    Args:
        name: `owner/name`.

    Raises:
        FileNotFoundError: it is neither a folder nor such a name.
        OSError: the hub did not answer.

    Example:
        >>> fetch_model("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
        PosixPath(...)
    """
    if not _NAME.fullmatch(name):
        expected = "a model's folder, or owner/name of one on the hub, is expected"
        raise FileNotFoundError(f"{name} does not exist: {expected}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_PATTERNS))
    except Exception as error:  # the hub's own types, its transport's and the system's
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OSError(f"{name} is no folder, and could not be fetched: {reason}") from error
