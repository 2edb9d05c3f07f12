"""Reddit TLDR: workers who compared two summaries of a post (Stiennon et al. 2020).

A row of the configuration `comparisons` of `summarize_from_feedback` has `info` (with `id` and
`post`), two `summaries` (with `text`), `choice` (0 or 1, the better of them), `worker`, and `split`
("train", "valid1", "valid2").
A user is a worker, a prompt a post. Rows about news articles (`info.article`, no post) are another
task and are left out.
"""

from __future__ import annotations

import os

from lore_jax.datasets.formats.collect import PairCollector, Published
from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message, kind_of
from lore_jax.datasets.formats.records import data_files, read_rows, require_text

HOME = Home("openai/summarize_from_feedback", ("comparisons/**",), "refs/convert/parquet")

_COLUMNS = ("info", "summaries", "choice", "worker", "split")


def read_reddit_tldr(data: str | os.PathLike[str]) -> Published:
    """Reads comparisons of summaries.

    Args:
        data: a folder with the files of the configuration `comparisons` (JSON lines as first
            published, Parquet, or what `datasets` saves), one such file, or
            `openai/summarize_from_feedback` to fetch them.

    Returns:
        The pairs: the user's turn is the post, the replies are the summaries. Columns: `split`
        ("train" or "validation") and `confidence` (None where it was not asked).

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: a row is not what it should be; the message says where.

    Example:
        >>> published = read_reddit_tldr("summarize_from_feedback")  # doctest: +SKIP
        >>> (published.column("split") == "train").mean()  # doctest: +SKIP
    """
    pairs = PairCollector()
    for where, row in read_rows(data_files(locate(data, HOME)), _COLUMNS):
        pairs.counts["rows"] += 1
        info, summaries, extra = row["info"], row["summaries"], row.get("extra")
        if not isinstance(info, dict) or not isinstance(summaries, list):
            raise ValueError(
                f"{where}: info is {kind_of(info)} and summaries is {kind_of(summaries)}: "
                "an object with a post and a list of two are expected"
            )
        if not info.get("post"):
            pairs.counts["rows dropped: no post"] += 1
            continue
        post = require_text(where, "info.post", info["post"])
        worker = require_text(where, "worker", row["worker"])
        replies = _in_order(where, summaries, row["choice"])
        confidence = extra.get("confidence") if isinstance(extra, dict) else None
        about = {"split": _split(where, row["split"]), "confidence": confidence}
        pairs.add(where, worker, post, (Message("user", post),), *replies, **about)
    return pairs.finish(str(data))


def _in_order(where: str, summaries: list[object], choice: object) -> tuple[str, str]:
    """The better summary, and the other one."""
    objects = [entry for entry in summaries if isinstance(entry, dict) and "text" in entry]
    if len(summaries) != 2 or len(objects) != 2:
        got = f"summaries is a list of {len(summaries)}"
        raise ValueError(f"{where}: {got}: two objects with a text are expected")
    if type(choice) is not int or choice not in (0, 1):
        raise ValueError(f"{where}: choice is {choice!r}: 0 or 1 is expected")
    texts = [
        require_text(where, f"summaries[{i}].text", entry["text"], empty=True)
        for i, entry in enumerate(objects)
    ]
    return texts[choice], texts[1 - choice]


def _split(where: str, name: object) -> str:
    if name == "train":
        return "train"
    if isinstance(name, str) and name.startswith("valid"):
        return "validation"
    raise ValueError(f"{where}: split is {name!r}: 'train', 'valid1' or 'valid2' is expected")
