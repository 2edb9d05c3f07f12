"""Splits without leaks of text: no prompt, turn or reply of the test is in the training pairs.

Splitting by group keeps groups apart, not texts: two people open a dialogue with the same words,
and a model refuses two questions in the same sentence. Therefore every text of a response is
numbered, each turn of its prompt and its reply, and training pairs that hold a text of the test are
dropped, whatever their group. The test stays as it is, so that its numbers can be compared with
others' on the same test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from lore_jax.datasets.formats.rows import Response


class Texts(NamedTuple):
    """The texts of each response, numbered: equal texts have equal numbers.

    Attributes:
        number: the texts of all responses one after the other, int32 `[texts]`.
        response: whose text each is, int32 `[texts]`.
        num_responses: the number of responses.
        num_texts: the number of distinct texts.
    """

    number: Int[np.ndarray, " texts"]
    response: Int[np.ndarray, " texts"]
    num_responses: int
    num_texts: int

    def shared(self, rows: Int[np.ndarray, " rows"]) -> Bool[np.ndarray, " responses"]:
        """Which responses hold a text that some response of `rows` holds too."""
        is_given = np.zeros(self.num_responses, bool)
        is_given[rows] = True
        text_is_given = np.zeros(self.num_texts, bool)
        text_is_given[self.number[is_given[self.response]]] = True
        shares_text = np.zeros(self.num_responses, bool)
        shares_text[self.response[text_is_given[self.number]]] = True
        return shares_text


def number_texts(responses: Sequence[Response]) -> Texts:
    """Numbers every turn and every reply; blanks around a text do not count.

    Example:
        >>> prompt = [{"role": "user", "content": "Name a colour."}]
        >>> texts = number_texts([Response(prompt, "Blue."), Response([], "Blue.")])
        >>> texts.num_texts, texts.shared(np.array([1])).tolist()
        (2, [True, True])
    """
    numbers: dict[str, int] = {}
    of_prompt: dict[int, list[int]] = {}  # equal prompts are one object
    number, response = [], []
    for row, (prompt, reply) in enumerate(responses):
        if id(prompt) not in of_prompt:
            turns = [turn["content"].strip() for turn in prompt]
            of_prompt[id(prompt)] = [numbers.setdefault(turn, len(numbers)) for turn in turns]
        of_response = {*of_prompt[id(prompt)], numbers.setdefault(reply.strip(), len(numbers))}
        number += of_response
        response += [row] * len(of_response)
    columns = np.array(number, np.int32), np.array(response, np.int32)
    return Texts(*columns, len(responses), len(numbers))


def keep_apart(
    texts: Texts,
    chosen: Int[np.ndarray, " pairs"],
    rejected: Int[np.ndarray, " pairs"],
    train: Bool[np.ndarray, " pairs"],
    test: Bool[np.ndarray, " pairs"],
) -> Bool[np.ndarray, " pairs"]:
    """The training pairs that share no text with any test pair.

    Args:
        texts: the texts of the responses.
        chosen: row of the preferred response.
        rejected: row of the other response.
        train: pairs to fit on, or to adapt to.
        test: pairs to test on.

    Returns:
        A part of `train`.

    Example:
        >>> replies = ["Blue.", "Red.", "Fig.", "Plum.", "Blue.", "Lime."]
        >>> texts = number_texts([Response([], reply) for reply in replies])
        >>> chosen, rejected = np.array([[0, 1], [2, 3], [4, 5]]).T
        >>> test = np.array([False, False, True])
        >>> keep_apart(texts, chosen, rejected, ~test, test).tolist()
        [False, True, False]
    """
    shared = texts.shared(np.concatenate([chosen[test], rejected[test]]))
    return train & ~shared[chosen] & ~shared[rejected]
