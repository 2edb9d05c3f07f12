"""RewardBench 2: prompts with correct and incorrect replies in six subsets (Malik et al. 2025).

A row of `allenai/reward-bench-2` has `prompt`, the lists `chosen` and `rejected`, and `subset`. A
prompt is won if every correct reply scores above every incorrect one. The subset Ties has several
correct replies; its published score also looks at margins between them, the share of prompts won
here does not.
"""

from __future__ import annotations

import os
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message
from lore_jax.datasets.formats.records import data_files, read_rows, require_text
from lore_jax.datasets.formats.rows import ResponseTable, TextPairs, index_pairs

HOME = Home("allenai/reward-bench-2", ("data/*.parquet",))

_COLUMNS = ("prompt", "chosen", "rejected", "subset")


class RewardBench(NamedTuple):
    """The prompts of the benchmark.

    Attributes:
        pairs: every correct reply against every incorrect one, by one user; for `embed`.
        subset: the subset of each prompt, `[prompts]`.
    """

    pairs: TextPairs
    subset: Shaped[np.ndarray, " prompts"]

    def won(self, scores: Float[np.ndarray, "responses ..."]) -> Bool[np.ndarray, "prompts ..."]:
        """Which prompts are won, by scores of `pairs.responses`, in their order."""
        margins = scores[self.pairs.chosen] - scores[self.pairs.rejected]
        least = np.full((len(self.subset), *margins.shape[1:]), np.inf)
        np.minimum.at(least, self.pairs.prompt, margins)
        return least > 0


def read_reward_bench(data: str | os.PathLike[str]) -> RewardBench:
    """Reads the benchmark.

    Args:
        data: a folder with its files, one such file, or `allenai/reward-bench-2` to fetch them.

    Returns:
        The `RewardBench`.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: a row is not what it should be; the message says where.

    Example:
        >>> bench = read_reward_bench("reward-bench-2")  # doctest: +SKIP
        >>> bench.won(table @ head).mean()  # doctest: +SKIP
    """
    table, subset = ResponseTable(), []
    columns: list[tuple[int, int, int, int]] = []  # chosen, rejected, user, prompt
    for where, row in read_rows(data_files(locate(data, HOME)), _COLUMNS):
        prompt = (Message("user", require_text(where, "prompt", row["prompt"])),)
        sides: list[list[int]] = []
        for name in ("chosen", "rejected"):
            replies = row[name]
            if not isinstance(replies, list) or not replies:
                got = f"{name} is {replies!r:.60}"
                raise ValueError(f"{where}: {got}: a list of replies is expected")
            texts = [require_text(where, name, reply) for reply in replies]
            sides.append([table.row(prompt, text) for text in texts])
        if both := set(sides[0]) & set(sides[1]):
            reply = table.responses[min(both)].reply
            raise ValueError(f"{where}: {reply[:40]!r} is both chosen and rejected")
        columns += [(chosen, rejected, 0, len(subset)) for chosen, rejected in product(*sides)]
        subset.append(require_text(where, "subset", row["subset"]))
    if not columns:
        raise ValueError(f"{data} holds no rows: one prompt a row is expected")
    pairs = index_pairs(columns, ["reward-bench-2"])
    return RewardBench(TextPairs(**vars(pairs), responses=table.responses), np.array(subset))
