"""Candidates of one kind: what is left to ask, in chunks of users as of each alone."""

import numpy as np
import pytest
from small_objects import small_objects

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers
from lore_jax.model.answer_model import begin_answers
from lore_jax.model.model import table_of_rewards
from lore_jax.users.answer_candidates import AnswerCandidates
from lore_jax.users.answering import adapt_answers
from lore_jax.users.kept_answers import added, no_answers

RANKING = Kind("ranking", 3, places=2)
# The second and the last are one question.
ROWS = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [5, 3, 4]])
SAID = [[2, 0, 1], [4, 5, 3], [0, 1, 9], [8, 6, 7]]


@pytest.fixture(scope="module")
def made():
    objects = small_objects()
    model, feedback = objects["model"], objects["feedback"]
    how = begin_answers(feedback)
    table = np.asarray(table_of_rewards(model, feedback.embeddings))
    candidates = AnswerCandidates(how, RANKING, ROWS, table, count=1, num_users=4)
    return candidates, adapt_answers(model, how, feedback)


def kept_of(user):
    new = answers(RANKING, SAID, np.zeros(4, int))
    return added(no_answers(RANKING, 3), new, np.array(user), np.arange(1, 5), 8)


def test_an_answer_takes_its_question_in_whatever_order(made):
    candidates, _ = made
    left = candidates.left(kept_of([0, 1, 1, 1]))
    expected = [
        [{*row} not in [{*SAID[n]} for n in numbers] for row in ROWS.tolist()]
        for numbers in ([0], [1, 2, 3], [])
    ]
    np.testing.assert_array_equal(left, expected)


def test_users_in_chunks_are_asked_what_each_alone_is(made):
    candidates, posterior = made
    users, kept = np.array([4, 0, 7]), kept_of([0, 1, 1, 2])
    # Five users in chunks of four: the second chunk repeats its last user.
    five = np.array([0, 1, 2, 1, 0])
    found = candidates.ask(posterior, users[five], kept.take(five))
    left = candidates.left(kept)
    for place, at in enumerate(five):
        assert left[at, found.index[place, 0]]
        alone = candidates.ask(posterior, users[at : at + 1], kept.take(np.array([at])))
        np.testing.assert_array_equal(found.items[place], alone.items[0])
        np.testing.assert_allclose(found.information[place], alone.information[0], atol=1e-5)


def test_fewer_candidates_than_questions_are_refused(made):
    objects = small_objects()
    how = begin_answers(objects["feedback"])
    table = np.asarray(table_of_rewards(objects["model"], objects["feedback"].embeddings))
    with pytest.raises(ValueError, match="4 candidates of rankings of 3: at least 5"):
        AnswerCandidates(how, RANKING, ROWS, table, count=5, num_users=4)
