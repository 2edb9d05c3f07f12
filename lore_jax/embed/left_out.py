"""Comparisons without the responses that a model cannot embed unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lore_jax.datasets.formats.records import BadRows
from lore_jax.datasets.formats.rows import TextPairs
from lore_jax.embed.pairs import conversations_of, labels_of
from lore_jax.embed.render import Renderer, prepare


def embeddable(pairs: TextPairs, renderer: Renderer, bad: BadRows) -> TextPairs:
    """The pairs both of whose responses can be embedded; the others are counted.

    A reply that is too long, that holds a special token of the model, or that its chat template
    refuses takes its pairs with it, and the answers that name it.

    Args:
        pairs: comparisons of texts.
        renderer: how the model reads them.
        bad: counts what is left out; where rows are not skipped, nothing is.

    Returns:
        The pairs, over the responses that are left; users stay, those without a pair as well.

    Raises:
        ValueError: no pair is left.

    Example:
        >>> pairs = embeddable(pairs, encoder.renderer, BadRows(skip=True))  # doctest: +SKIP
    """
    problems = _problems(pairs, renderer) if bad.skip else {}
    if not problems:
        return pairs
    lost = np.zeros(len(pairs.responses), bool)
    lost[list(problems)] = True
    dropped = lost[pairs.chosen] | lost[pairs.rejected]
    for pair in np.flatnonzero(dropped):
        side = pairs.chosen[pair] if lost[pairs.chosen[pair]] else pairs.rejected[pair]
        bad.add(problems[int(side)])
    keep = np.flatnonzero(~dropped)
    if not len(keep):
        raise ValueError(f"no pair can be embedded, the first because of {bad.first[0]}")
    row = (np.cumsum(~lost) - 1).astype(np.int32)
    columns = {name: getattr(pairs, name)[keep] for name in ("user", "prompt", "pair_weight")}
    answers = pairs.answers
    if answers is not None:
        blocks = [block.take(np.flatnonzero(~lost[block.items].any(axis=1))) for block in answers]
        blocks = [dataclasses.replace(block, items=row[block.items]) for block in blocks]
        answers = tuple(block for block in blocks if len(block))
    kept = np.flatnonzero(~lost).tolist()
    return dataclasses.replace(
        pairs,
        chosen=row[pairs.chosen[keep]],
        rejected=row[pairs.rejected[keep]],
        **columns,
        answers=answers,
        responses=[pairs.responses[number] for number in kept],
        extra=[pairs.extra[number] for number in keep] if pairs.extra else [],
        labels=None if pairs.labels is None else [pairs.labels[number] for number in kept],
    )


def _problems(pairs: TextPairs, renderer: Renderer) -> dict[int, str]:
    """What is wrong with each response that cannot be embedded."""
    labels, conversations = labels_of(pairs), conversations_of(pairs)

    def problem(numbers: Sequence[int]) -> str | None:
        try:
            prepare([conversations[i] for i in numbers], renderer, [labels[i] for i in numbers])
        except ValueError as error:
            return str(error)
        return None

    if problem(range(len(conversations))) is None:
        return {}
    groups: dict[int, list[int]] = {}
    for number, conversation in enumerate(conversations):  # equal prompts are one object
        groups.setdefault(id(conversation.prompt), []).append(number)
    suspects = [number for numbers in groups.values() if problem(numbers) for number in numbers]
    found = {number: problem([number]) for number in suspects}
    return {number: text for number, text in found.items() if text is not None}
