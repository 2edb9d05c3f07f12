"""Reddit TLDR: workers who compared two summaries of a post (Stiennon et al. 2020,
`summarize_from_feedback`).

A row of the configuration `comparisons` has `info` (with `id` and `post`), two `summaries` (with
`text`), `choice` (0 or 1, the better of them), `worker`, and `split` ("train", "valid1", "valid2").
A user is a worker, a prompt a post. Rows about news articles (`info.article`, no post) are other
people's work on other texts and are left out.
"""

from __future__ import annotations

import os
from typing import Any

from lore_jax.datasets.formats.collect import PairCollector, Published
from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message, kind_of
from lore_jax.datasets.formats.records import a_text, data_files, read_records, require_columns

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
        ValueError: a row is not what it should be; the message names its place.

    Example:
        >>> published = read_reddit_tldr("summarize_from_feedback")
        >>> (published.column("split") == "train").mean()
    """
    pairs = PairCollector()
    for file in data_files(locate(data, HOME)):
        for place, row in read_records(file):
            require_columns(place, row, _COLUMNS)
            pairs.counts["rows"] += 1
            info, summaries = row["info"], row["summaries"]
            if not isinstance(info, dict) or not isinstance(summaries, list):
                raise ValueError(
                    f"{place}: info is {kind_of(info)} and summaries is {kind_of(summaries)}: an object with a post and "
                    "a list of two are expected"
                )
            if not info.get("post"):
                pairs.counts["rows dropped: no post"] += 1
                continue
            pairs.add(
                place,
                a_text(place, "worker", row["worker"]),
                post := a_text(place, "info.post", info["post"]),
                (Message("user", post),),
                *_in_order(place, summaries, row["choice"]),
                split=_split(place, row["split"]),
                confidence=(row.get("extra") or {}).get("confidence"),
            )
    return pairs.finish(str(data))


def _in_order(place: str, summaries: list[Any], choice: Any) -> tuple[str, str]:
    if len(summaries) != 2 or not all(
        isinstance(entry, dict) and "text" in entry for entry in summaries
    ):
        raise ValueError(
            f"{place}: summaries is a list of {len(summaries)}: two objects with a text are expected"
        )
    if type(choice) is not int or choice not in (0, 1):
        raise ValueError(f"{place}: choice is {choice!r}: 0 or 1 is expected")
    texts = [
        a_text(place, f"summaries[{i}].text", entry["text"], empty=True)
        for i, entry in enumerate(summaries)
    ]
    return texts[choice], texts[1 - choice]


def _split(place: str, name: Any) -> str:
    if name == "train":
        return "train"
    if isinstance(name, str) and name.startswith("valid"):
        return "validation"
    raise ValueError(f"{place}: split is {name!r}: 'train', 'valid1' or 'valid2' is expected")
