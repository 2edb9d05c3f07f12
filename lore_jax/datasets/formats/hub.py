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
        FileNotFoundError: neither.
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
    from huggingface_hub import snapshot_download

    name, patterns, revision = home
    options = {"repo_type": "dataset", "revision": revision, "allow_patterns": list(patterns)}
    try:
        return Path(snapshot_download(name, **options))
    except Exception as error:  # the hub's own types, its transport's and the system's
        raise OSError(f"{name} could not be fetched: {str(error).splitlines()[0]}") from error
