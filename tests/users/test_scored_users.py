"""Names and scores that both kinds of sessions share, against the functions on a table."""

import jax.numpy as jnp
import numpy as np
import pytest

import lore_jax as lore
from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel, begin_answers
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior

TABLE = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
TIE = Kind("tie", 2, levels=3)


def sessions():
    params = {"V": jnp.asarray(np.random.default_rng(1).normal(size=(4, 2)), jnp.float32)}
    model = Model(LinearBasis(2), params, jnp.ones(()), GaussianPrior(jnp.ones(2), jnp.eye(2)))
    tie = lore.answers(TIE, [[0, 1], [1, 2]], [0, 0], outcome=[1, 2])
    how: AnswerModel = begin_answers(lore.from_answers(TABLE, [tie]))
    names = ["ann", "bob"]
    pairs = lore.Session(model, TABLE, users=names)
    pairs.observe(2, 3, user="bob")
    said = lore.AnswerSession(model, how, TABLE, [TIE], users=names)
    said.observe(TIE, [2, 3], user="bob", outcome=2)
    return model, (pairs, pairs.posterior), (said, said.posterior.users)


def test_scores_are_those_of_the_table_and_of_new_replies():
    model, *both = sessions()
    new = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    for session, posterior in both:
        assert session.names.tolist() == ["ann", "bob"]
        assert session.num_users == 2
        expected = lore.score(model, posterior, TABLE)
        found = session.score([4, 0], ["bob", "ann"])
        np.testing.assert_allclose(found, expected[::-1, [4, 0]], rtol=1e-5)
        np.testing.assert_allclose(session.score([4, 0], "bob"), expected[1, [4, 0]], rtol=1e-5)
        of_new = lore.score(model, posterior, new)
        np.testing.assert_allclose(session.score(new, "bob"), of_new[1], rtol=1e-5)


def test_what_is_no_reply_is_refused():
    for session, _ in sessions()[1:]:
        with pytest.raises(ValueError, match="rows"):
            session.score([6], "ann")
        with pytest.raises(ValueError, match=r"dim|width|shape"):
            session.score(np.ones((1, 5), np.float32), "ann")
        with pytest.raises(ValueError, match="user 'eve' is not one"):
            session.score([0], "eve")
