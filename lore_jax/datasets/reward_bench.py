"""RewardBench 2: prompts with correct and incorrect replies in six subsets (Malik et al. 2025).

A row of `allenai/reward-bench-2` has `prompt`, the lists `chosen` and `rejected`, and `subset`. A
prompt is won if every correct reply scores above every incorrect one. The subset Ties has several
correct replies; its published score also looks at margins between them, the share of prompts won
here does not.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message
from lore_jax.datasets.formats.records import a_text, data_files, read_records, require_columns
from lore_jax.datasets.formats.rows import ResponseTable, TextPairs

HOME = Home("allenai/reward-bench-2", ("data/*.parquet",))


class RewardBench(NamedTuple):
    """The prompts of the benchmark.

    Attributes:
        pairs: every correct reply against every incorrect one, by one user; for `embed`.
        subset: the subset of each prompt, `[prompts]`.
    """

    pairs: TextPairs
    subset: np.ndarray

    def won(self, scores: np.ndarray) -> np.ndarray:
        """Which prompts are won: the lowest correct reply is above the highest incorrect one.

        Args:
            scores: of the responses in the order of `pairs.responses`, `[responses, ...]`.

        Returns:
            bool `[prompts, ...]`.
        """
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
        ValueError: a row is not what it should be; the message names its place.

    Example:
        >>> bench = read_reward_bench("reward-bench-2")
        >>> bench.won(table @ head).mean()
    """
    table, subset = ResponseTable(), []
    columns: list[tuple[int, int, int]] = []
    for file in data_files(locate(data, HOME)):
        for place, row in read_records(file):
            require_columns(place, row, ("prompt", "chosen", "rejected", "subset"))
            prompt = (Message("user", a_text(place, "prompt", row["prompt"])),)
            sides = []
            for name in ("chosen", "rejected"):
                if not isinstance(row[name], list) or not row[name]:
                    raise ValueError(
                        f"{place}: {name} is {row[name]!r:.60}: a list of replies is expected"
                    )
                sides.append([table.row(prompt, a_text(place, name, reply)) for reply in row[name]])
            if both := set(sides[0]) & set(sides[1]):
                raise ValueError(
                    f"{place}: {table.responses[min(both)].reply[:40]!r} is both chosen and rejected"
                )
            columns += [
                (chosen, rejected, len(subset)) for chosen in sides[0] for rejected in sides[1]
            ]
            subset.append(a_text(place, "subset", row["subset"]))
    if not columns:
        raise ValueError(f"{data} holds no rows: one prompt a row is expected")
    chosen, rejected, number = np.array(columns, np.int32).T
    pairs = TextPairs(
        chosen=chosen,
        rejected=rejected,
        user=np.zeros(len(chosen), np.int32),
        prompt=number,
        pair_weight=np.ones(len(chosen), np.float32),
        user_ids=["reward-bench-2"],
        num_duplicates=0,
        responses=table.responses,
        extra=[],
    )
    return RewardBench(pairs, np.array(subset))
