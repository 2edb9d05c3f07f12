"""How much lower than a control's the log loss of each of some rules is, data set by data set.

A part is what one data set says in one split: `data`, `test`, `voters` (names of its users) and
`gains`, of each rule and each time `gain_of` the control's losses less the rule's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.evaluation.influences import buckets_of, pair_influences
from lore_jax.evaluation.intervals import Estimate, Sample, Sums, combine, estimate
from lore_jax.evaluation.metrics import per_user_mean
from lore_jax.reporting.tables import markdown

Part = Mapping[str, Any]


def gain_of(test: Preferences, split: int, values: np.ndarray) -> dict[str, Any]:
    """A mean over users of a value a pair, and what it takes to say how well it is known.

    Plain lists: what `intervals.Sample` holds, responses being the items.
    """
    influence = pair_influences(values, test.user, test.num_users)
    kinds = zip(("items", "cells"), buckets_of(test, "response", split=split), strict=True)
    sums = {
        name: [buckets.bucket.tolist(), buckets.add(influence).tolist()] for name, buckets in kinds
    }
    return {"values": per_user_mean(values, test.user, test.num_users).tolist(), **sums}


def gain(parts: Sequence[Part], rule: str, time: int) -> Estimate:
    """How much lower than the control's a rule's log loss is; data sets count alike."""
    of_names = []
    for name in dict.fromkeys(part["data"] for part in parts):
        samples = []
        for part in parts:
            if part["data"] == name:
                one = part["gains"][rule][time]
                items, cells = (Sums(*map(np.array, one[kind])) for kind in ("items", "cells"))
                values = np.array(one["values"])
                samples.append(Sample(np.array(part["voters"]), values, items, cells))
        of_names.append(estimate(samples))
    return combine(of_names)


def gains_table(results: Sequence[Part], rules: Sequence[str], answers: Sequence[int]) -> str:
    """The gains of each data set and of all, in Markdown.

    Args:
        results: the parts.
        rules: those to show.
        answers: after how many answers losses were taken.

    Returns:
        A table for each test.
    """
    text = []
    for test in dict.fromkeys(part["test"] for part in results):
        parts = [part for part in results if part["test"] == test]
        rows = [["", *rules]]
        for name in (*dict.fromkeys(part["data"] for part in parts), None):
            mine = [part for part in parts if name in (part["data"], None)]
            for time, after in enumerate(answers):
                found = [gain(mine, rule, time).interval() for rule in rules]
                cells = [f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in found]
                rows.append([f"{name or 'all'}, {after}", *cells])
        text.append(
            f"## {test}: log loss after some answers, random's less the rule's\n\nAbove 0: better "
            f"than random; 95 % intervals about other voters and statements.\n\n{markdown(rows)}"
        )
    return "\n\n".join(text)
