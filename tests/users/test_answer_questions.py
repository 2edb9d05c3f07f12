"""Questions of other kinds for many users: each user's own, what is asked already, bad input."""

import jax
import numpy as np
import pytest
from small_objects import small_objects

from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import begin_answers
from lore_jax.model.model import rewards
from lore_jax.users.answer_criteria import margin_features, next_answers
from lore_jax.users.answer_questions import ask_answers, with_intercepts
from lore_jax.users.answering import adapt_answers

STARS, RANKING = Kind("rating", 1, levels=5), Kind("ranking", 3, places=2)


@pytest.fixture(scope="module")
def known():
    objects = small_objects()
    feedback, model = objects["feedback"], objects["model"]
    how = begin_answers(feedback)
    return model, how, adapt_answers(model, how, feedback), feedback.embeddings


@pytest.mark.parametrize("kind", [STARS, RANKING], ids=str)
def test_users_together_are_asked_what_each_alone_is(known, kind):
    model, how, posterior, embeddings = known
    rows = np.arange(8 * kind.num_items, dtype=np.int32).reshape(8, kind.num_items)
    asked = np.zeros((posterior.users.num_users, 8), bool)
    asked[1, :7] = True
    found = ask_answers(model, how, posterior, embeddings, kind, rows, count=2, asked=asked)
    features = margin_features(kind, np.asarray(rewards(model, embeddings).table)[rows])
    mean, covariance = with_intercepts(posterior, np.arange(3))
    for user in range(3):
        alone = jax.jit(next_answers, static_argnums=1, static_argnames="count")(
            how, kind, mean[user], covariance[user], features, ~asked[user], count=2
        )
        np.testing.assert_array_equal(found.index[user], alone.index)
        np.testing.assert_allclose(found.information[user], alone.information, atol=1e-5)
    assert found.index[1].tolist() == [7, -1]
    np.testing.assert_array_equal(found.items[1], [rows[7], np.full(kind.num_items, -1)])
    np.testing.assert_allclose(found.probability.sum(axis=2), 1.0, atol=1e-3)


def test_what_cannot_be_asked_is_refused(known):
    model, how, posterior, embeddings = known

    def ask(kind, rows, **options):
        return ask_answers(model, how, posterior, embeddings, kind, rows, **options)

    cases = [
        (STARS, [[0, 1]], {}, r"shape \(1, 2\): \[c, 1\], at least one, is expected of ratings"),
        (STARS, [0.5], {}, "dtype float64: integers"),
        (STARS, [10**6], {}, "holds 1000000, outside a table"),
        (RANKING, [[0, 1, 2], [3, 4, 3]], {}, r"candidate 1 names a response twice: \[3, 4, 3\]"),
        (STARS, [0, 1], {"count": 3}, "count is 3: 1 to 2"),
        (STARS, [0, 1], {"asked": [True]}, "bool"),
        (Kind("rating", 1, levels=9), [0], {}, "no scale 'rating 9'"),
        (Kind("ranking", 6, places=5), [list(range(6))], {}, "720 outcomes: at most 120"),
    ]
    for kind, rows, options, message in cases:
        with pytest.raises(ValueError, match=message):
            ask(kind, rows, **options)
