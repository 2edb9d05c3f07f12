"""No text on both sides of a split."""

import numpy as np

from lore_jax.datasets.formats.rows import Response
from lore_jax.datasets.leaks import keep_apart, number_texts


def test_training_pairs_with_a_text_of_the_test_are_found():
    def say(*texts):
        return Response([{"role": "user", "content": text} for text in texts[:-1]], texts[-1])

    responses = [
        say("p", "a"),
        say("p", "b"),
        say("q", "c"),
        say("q", "d"),
        say("r", " a "),
        say("r", "e"),
        say("s", "q", "f"),
        say("s", "q", "g"),
    ]
    chosen, rejected = np.array([[0, 1], [2, 3], [4, 5], [6, 7]]).T
    texts = number_texts(responses)
    assert texts.num_texts == len({"p", "a", "b", "q", "c", "d", "r", "e", "s", "f", "g"})
    train = np.array([True, False, True, True])
    # The test pair's prompt is a turn of the last pair's; "a" stands on one side of both others,
    # under another prompt.
    np.testing.assert_array_equal(
        keep_apart(texts, chosen, rejected, train, ~train), [True, False, True, False]
    )
    np.testing.assert_array_equal(
        keep_apart(texts, chosen, rejected, train, np.array([True, False, False, False])),
        [False, False, False, True],
    )
