"""Pairs that a person is asked about: words, rows of the file, and what the session is told."""

from types import SimpleNamespace

import numpy as np

from lore_jax.cli.ask_pairs import PairAsker


def test_a_and_b_are_the_first_and_the_second():
    told = []
    rows = np.array([[7]]), np.array([[9]])
    question = SimpleNamespace(index=np.array([[2]]), first=rows[0], second=rows[1], gain=rows[0])
    session = SimpleNamespace(ask=lambda without: question, observe=lambda *own: told.append(own))
    asker = PairAsker(session)  # pyright: ignore[reportArgumentType]
    assert asker.ask([])[::2] == (2, (7, 9))
    assert [asker.read(word) for word in ("a", "b", "c", "")] == [0, 1, None, None]
    asker.observe((7, 9), 1)
    assert told == [(9, 7)]
    assert asker.row((7, 9), 1) == {"chosen": 9, "rejected": 7}
    question.index[:] = -1
    assert asker.ask([]) is None
