"""A session of answers of every kind: a refit on all answers, no compilation, refused calls."""

import json

import jax
import numpy as np
import pytest
from small_objects import KINDS, small_objects
from strange_json import of_other_kinds, put

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers
from lore_jax.model.answer_model import begin_answers
from lore_jax.model.model import table_of_rewards
from lore_jax.users.answer_questions import ask_answers
from lore_jax.users.answer_session import AnswerSession
from lore_jax.users.answering import adapt_answers

PAIR, TIE, FIVE, RANKING, STARS = KINDS
CANDIDATES = {RANKING: np.arange(12).reshape(4, 3), STARS: np.arange(5)}


@pytest.fixture(scope="module")
def made():
    objects = small_objects()
    feedback = objects["feedback"]
    return objects["model"], begin_answers(feedback), feedback


@pytest.fixture
def session(made):
    model, how, feedback = made
    return AnswerSession(
        model,
        how,
        feedback.embeddings,
        list(KINDS),
        candidates=CANDIDATES,
        users=["ann", "bob", "cleo"],
        capacity=8,
    )


def same(found, expected):
    for own, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if np.asarray(own).dtype.kind == "f":
            np.testing.assert_allclose(own, other, atol=2e-5)


def test_answers_one_by_one_are_those_refitted_together(made, session):
    model, how, feedback = made
    rng, said = np.random.default_rng(0), {kind: ([], [], []) for kind in KINDS}
    session.warmup()
    compiled = jax.monitoring  # counts what is compiled from here on
    events = []
    compiled.register_event_duration_secs_listener(
        lambda name, *_, **__: events.append(name) if "backend_compile" in name else None
    )
    for number in range(20):
        kind, user = list(KINDS)[number % 5], int(rng.integers(3))
        items = rng.choice(feedback.num_responses, kind.num_items, replace=False)
        by_level = kind.levels and kind.name != "pair"
        outcome = int(rng.integers(kind.levels)) if by_level else None
        session.observe(kind, items, session.names[user], outcome=outcome)
        session.ask(STARS, "bob")
        session.score([0, 1, 2], "ann")
        for part, value in zip(said[kind], (items, user, outcome), strict=True):
            part.append(value)
    session.forget("ann", last=1)
    session.observe(STARS, [[0], [1], [2]], ["ann", "bob", "ann"], outcome=[4, 0, 1])
    session.forget("ann", last=2)
    session.forget("bob", last=1)
    session.ask(RANKING, ["ann", "bob", "cleo"])
    assert not events
    mine = [n for n in range(20) if said[list(KINDS)[n % 5]][1][n // 5] == 0]
    blocks = []
    for number, (kind, (items, user, outcome)) in enumerate(said.items()):
        keep = [i for i in range(4) if number + 5 * i != mine[-1]]  # ann's last was forgotten
        block = [[part[i] for i in keep] for part in (items, user, outcome)]
        levels = None if block[2][0] is None else block[2]
        blocks.append(answers(kind, np.array(block[0]), block[1], outcome=levels))
    together = from_answers(feedback.embeddings, blocks, num_users=3)
    expected = adapt_answers(model, how, together)
    found = session.posterior
    np.testing.assert_array_equal(found.users.shots, expected.users.shots)
    np.testing.assert_allclose(found.users.weights, expected.users.weights, atol=2e-5)
    np.testing.assert_allclose(found.users.covariance, expected.users.covariance, atol=2e-5)
    np.testing.assert_allclose(found.intercept, expected.intercept, atol=2e-5)
    np.testing.assert_allclose(found.intercept_variance, expected.intercept_variance, atol=2e-5)
    table = np.asarray(table_of_rewards(model, feedback.embeddings))
    np.testing.assert_allclose(
        session.score([3, 4], ["bob", "ann"]), found.users.weights[[1, 0]] @ table[[3, 4]].T
    )
    again = AnswerSession.from_dict(
        json.loads(json.dumps(session.to_dict())), model, how, feedback.embeddings, capacity=8
    )
    same(again.posterior, found)
    same(again.forget("cleo", last=2), session.forget("cleo", last=2))


def test_questions_are_those_of_ask_answers_but_for_what_was_said(made, session):
    model, how, feedback = made
    nobody = session.posterior
    first = session.ask(RANKING, ["ann", "bob", "cleo"])
    expected = ask_answers(
        model, how, nobody, feedback.embeddings, RANKING, CANDIDATES[RANKING], count=1
    )
    np.testing.assert_array_equal(first.index, expected.index)
    session.observe(RANKING, first.items[0, 0][::-1], "ann")
    assert session.ask(RANKING, "ann").index[0, 0] != first.index[0, 0]
    for row in CANDIDATES[RANKING]:
        session.observe(RANKING, row, "ann")
    assert session.ask(RANKING, "ann").index.tolist() == [[-1]]
    np.testing.assert_array_equal(session.ask(RANKING, "bob").index, first.index[1:2])


def test_a_refused_call_leaves_the_session_as_it_was(session):
    session.observe(TIE, [0, 1], "ann", outcome=1)
    before = json.dumps(session.to_dict()), session.posterior
    nine = {"items": [[i] for i in range(9)], "outcome": [0] * 9}
    cases = [
        (Kind("tie", 2, 3), {"items": [0, 10**6], "outcome": 1}, "outside a table"),
        (TIE, {"items": [0, 1], "outcome": 3}, "outside 0 .. 2"),
        (TIE, {"items": [0, 1]}, "outcome is missing"),
        (RANKING, {"items": [0, 1, 0]}, "responses must differ"),
        (RANKING, {"items": [0, 1]}, r"\[answers, 3\]"),
        (STARS, nine, "9 ratings 1-5: at most 8"),
        (Kind("rating", 1, levels=3), {"items": [0], "outcome": 1}, "takes no ratings 1-3"),
    ]
    for kind, said, message in cases:
        with pytest.raises(ValueError, match=message):
            session.observe(kind, user="ann", **said)
    for refused, message in (
        (lambda: session.observe(TIE, [0, 1], "dan", outcome=1), "'dan' is not one of"),
        (lambda: session.observe(TIE, [0, 1], ["ann", "bob"], outcome=1), "for 2 users"),
        (lambda: session.forget("ann", last=0), "last is 0"),
        (lambda: session.ask(TIE, "ann"), "no candidates of pairs or ties"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    assert json.dumps(session.to_dict()) == before[0]
    same(session.posterior, before[1])


def test_what_no_session_is_made_of_is_refused(made, session):
    model, how, feedback = made

    def make(kinds, **options):
        return AnswerSession(model, how, feedback.embeddings, kinds, **options)

    for kinds, options, message in (
        ([], {}, "kinds is empty"),
        ([Kind("rating", 1, levels=9)], {}, "no scale"),
        ([TIE], {"capacity": 0}, "capacity is 0"),
        ([TIE], {"candidates": {STARS: [0]}}, "takes no ratings 1-5"),
        ([STARS], {"candidates": {STARS: [0]}, "count": 2}, "at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            make(kinds, **options)
    saved = session.to_dict()
    with pytest.raises(ValueError, match="format 7"):
        AnswerSession.from_dict(saved | {"format": 7}, model, how, feedback.embeddings)
    with pytest.raises(ValueError, match="another table"):
        AnswerSession.from_dict(saved, model, how, feedback.embeddings[:-1])


@pytest.fixture(scope="module")
def said(made):
    """A saved session of two kinds, and what leads back."""
    model, how, feedback = made
    session = AnswerSession(model, how, feedback.embeddings, [TIE, STARS], users=["ann", "bob"])
    session.observe(TIE, [3, 4], "ann", outcome=1)
    session.observe(STARS, [[3], [5]], ["bob", "ann"], outcome=[4, 0])
    session.observe(TIE, [5, 4], "ann", outcome=2)
    saved = session.to_dict()

    def read(changed):
        return AnswerSession.from_dict(changed, model, how, feedback.embeddings)

    assert read(json.loads(json.dumps(saved))).to_dict() == saved
    return saved, read


def test_a_saved_field_of_another_type_is_refused_at_its_place(said):
    saved, read = said
    for place, value in of_other_kinds(saved):
        with pytest.raises(ValueError, match=r"^the saved session[ :]") as refusal:
            read(put(saved, place, value))
        assert str(place[0]) in str(refusal.value)


TIES, RATINGS = ("answers", 0), ("answers", 1)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*TIES, "user"), [0], "1 user, 2 items, 2 outcome, 2 order: as many of each"),
        ((*TIES, "user", 1), 2, "user 2 is not one of the 2"),
        ((*TIES, "items", 0), [3], "holds 1 responses: 2 are expected of pairs or ties"),
        ((*TIES, "items", 0, 0), 2**33, "items is .* numbers of 32 bits are expected"),
        ((*TIES, "items", 0, 0), 10**6, "items holds 1000000, outside a table of"),
        ((*TIES, "outcome", 0), 3, "outcome is 3 in answer 0, outside 0 .. 2"),
        ((*TIES, "order", 0), 0, "order.0. is 0: a whole number of 1 to"),
        ((*TIES, "order", 0), 9, "are not sorted"),
        ((*RATINGS, "user"), [1, 0], "are not sorted"),
        ((*RATINGS, "order", 0), 1, "are not sorted"),  # as an order of the ties
        (("kinds", 0, "num_items"), 3, "a tie is about 3 responses: 2 are expected"),
        (("kinds", 1, "places"), 5, "a rating says 5 places: 0 are expected"),
        (("kinds",), [], "0 kinds, 0 of them different, and 2 answers"),
        (("users", 0), "bob", "user_ids holds 'bob' 2 times"),
    ],
)
def test_saved_answers_that_cannot_be_are_refused(said, place, value, message):
    saved, read = said
    with pytest.raises(ValueError, match=f"^the saved session(: | has ).*{message}"):
        read(put(saved, place, value))


def test_a_saved_kind_of_more_responses_than_there_are_is_refused(said):
    saved, read = said
    ranking = {"name": "ranking", "num_items": 10**9, "levels": 0, "places": 1}
    nothing = {name: [] for name in ("user", "items", "outcome", "order")}
    with pytest.raises(ValueError, match=r"the saved session: .* are about more than the"):
        read({**saved, "kinds": [ranking], "answers": [nothing]})
