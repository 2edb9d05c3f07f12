"""No text on both sides of a split: prompts, turns and replies of the test are nowhere in what is
fitted or adapted to.

Splitting by group keeps groups apart, not texts: two people open a dialogue with the same words, and
a model refuses two questions in the same sentence. So every text of a response is numbered, each
turn of its prompt and its reply, and training pairs that hold a text of the test are dropped,
whatever group they belong to. The test stays as it is, so that its numbers can be set beside others'
on the same test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lore_jax.datasets.formats.rows import Response


class Texts(NamedTuple):
    """The texts of each response, numbered: equal texts have equal numbers.

    Attributes:
        number: the texts of all responses one after the other, int32 `[n]`.
        response: whose text each is, int32 `[n]`.
        num_responses: the number of responses.
        num_texts: the number of distinct texts.
    """

    number: np.ndarray
    response: np.ndarray
    num_responses: int
    num_texts: int

    def shared(self, rows: np.ndarray) -> np.ndarray:
        """Which responses hold a text that some response of `rows` holds too, bool `[responses]`."""
        asked = np.zeros(self.num_responses, bool)
        asked[rows] = True
        in_test = np.zeros(self.num_texts, bool)
        in_test[self.number[asked[self.response]]] = True
        out = np.zeros(self.num_responses, bool)
        out[self.response[in_test[self.number]]] = True
        return out


def number_texts(responses: Sequence[Response]) -> Texts:
    """Numbers every turn and every reply; blanks around a text do not count.

    Args:
        responses: as readers give them.

    Returns:
        The `Texts`.

    Example:
        >>> texts = number_texts(pairs.responses)
        >>> texts.shared(test_rows).sum()
        118
    """
    numbers: dict[str, int] = {}
    of_prompt: dict[int, list[int]] = {}  # equal prompts are one object
    number, response = [], []
    for row, (prompt, reply) in enumerate(responses):
        if id(prompt) not in of_prompt:
            of_prompt[id(prompt)] = [
                numbers.setdefault(turn["content"].strip(), len(numbers)) for turn in prompt
            ]
        here = {*of_prompt[id(prompt)], numbers.setdefault(reply.strip(), len(numbers))}
        number += here
        response += [row] * len(here)
    return Texts(
        np.array(number, np.int32), np.array(response, np.int32), len(responses), len(numbers)
    )


def keep_apart(
    texts: Texts, chosen: np.ndarray, rejected: np.ndarray, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """The training pairs that share no text with any test pair.

    Args:
        texts: the texts of the responses.
        chosen: row of the preferred response, `[pairs]`.
        rejected: row of the other response, `[pairs]`.
        train: pairs to fit on, or to adapt to, bool `[pairs]`.
        test: pairs to test on, bool `[pairs]`.

    Returns:
        A part of `train`, bool `[pairs]`.

    Example:
        >>> train = keep_apart(texts, prefs.chosen, prefs.rejected, cut.train, cut.test)
    """
    shared = texts.shared(np.concatenate([chosen[test], rejected[test]]))
    return train & ~shared[chosen] & ~shared[rejected]
