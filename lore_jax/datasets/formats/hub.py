"""Where a published data set is: a local folder or file, or its repository on the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Home(NamedTuple):
    """Where a data set is published.

    Attributes:
        name: `owner/name` on the Hugging Face hub.
        patterns: which files are needed.
        revision: a branch, or None for the main one.
    """

    name: str
    patterns: tuple[str, ...]
    revision: str | None = None


def locate(data: str | os.PathLike[str], home: Home) -> Path:
    """The folder or file of a data set; only `home.name` is fetched, into the hub's own cache.

    Args:
        data: a folder, a file, or `home.name`.
        home: where the data set is published.

    Returns:
        The path.

    Raises:
        FileNotFoundError: neither; or the hub is asked for and `huggingface_hub` is not installed.
        OSError: the hub did not answer.

    Example:
        >>> home = Home("HannahRoseKirk/prism-alignment", ("*.jsonl",))
        >>> locate("downloads/prism", home)  # doctest: +SKIP
        PosixPath('downloads/prism')
    """
    path = Path(data)
    if path.exists():
        return path
    if str(data) != home.name:
        raise FileNotFoundError(
            f"{data} does not exist: a folder is expected, or {home.name!r} to fetch from the hub"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise FileNotFoundError(
            f"{data} is not a folder here, and fetching it needs huggingface_hub installed"
        ) from None
    try:
        return Path(
            snapshot_download(
                home.name,
                repo_type="dataset",
                revision=home.revision,
                allow_patterns=list(home.patterns),
            )
        )
    except Exception as error:  # the hub's own types, its transport's and the system's
        raise OSError(f"{home.name} could not be fetched: {str(error).splitlines()[0]}") from error
