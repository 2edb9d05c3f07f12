"""Cut points in order, their start from frequencies, and what cannot be learned."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers
from lore_jax.model.answer_model import begin_answers, cuts_of, num_entries
from lore_jax.solvers.lapse import Lapse
from lore_jax.solvers.ties import Davidson

TABLE = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
STARS, FIVE, TIES = Kind("rating", 1, levels=5), Kind("strength", 2, levels=5), Kind("tie", 2, 3)
SIX = Kind("strength", 2, levels=6)


def said(kind, outcome):
    items = [[0, 1]] * len(outcome) if kind.num_items == 2 else [0] * len(outcome)
    return from_answers(TABLE, [answers(kind, items, [0] * len(outcome), outcome=outcome)])


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8])
def test_cut_points_increase_and_are_symmetric_where_they_should_be(levels):
    rng = np.random.default_rng(levels)
    for symmetric in (True, False):
        size = (levels - 1) // 2 if symmetric else levels - 1
        cuts = np.asarray(cuts_of(jnp.asarray(rng.normal(size=size)), levels, symmetric=symmetric))
        assert cuts.shape == (levels - 1,)
        assert (np.diff(cuts) > 0).all()
        if symmetric:
            np.testing.assert_allclose(cuts, -cuts[::-1], atol=1e-6)


@pytest.mark.parametrize("kind", [STARS, FIVE, SIX])
def test_they_begin_at_the_frequencies(kind):
    outcome = np.repeat(np.arange(kind.levels), [400, 300, 100, 150, 250, 200][: kind.levels])
    cuts = begin_answers(said(kind, outcome)).cuts(kind.scale)
    count = np.bincount(outcome)
    count = count if kind.name == "rating" else count + count[::-1]
    share = np.diff(np.concatenate([[0.0], expit(np.asarray(cuts)), [1.0]]))
    np.testing.assert_allclose(share, count / count.sum(), atol=2e-3)


def test_both_models_of_ties_begin_at_their_frequency():
    outcome = np.repeat([0, 1, 2], [300, 400, 300])
    for ties in ("davidson", "rao-kupper"):
        how = begin_answers(said(TIES, outcome), ties=ties)
        likelihood = how.likelihood(TIES, jnp.array([[1]]))
        assert isinstance(likelihood, Davidson) == (ties == "davidson")
        assert float(jnp.exp(-likelihood.loss(jnp.zeros((1, 1))))[0, 0]) == pytest.approx(
            0.4, abs=2e-3
        )


def test_lapses_know_how_many_answers_there_are():
    how = begin_answers(said(FIVE, [0, 4]), lapse=0.1)
    kind = Kind("ranking", 4, places=3)
    likelihood = how.likelihood(kind, jnp.zeros((1, 1), jnp.int32))
    assert isinstance(likelihood, Lapse)
    assert (likelihood.outcomes, likelihood.entries, num_entries(kind)) == (24, 6, 6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: begin_answers(said(STARS, [2, 2, 2])), "all 3 ratings 1-5 are level 3: two"),
        (lambda: begin_answers(said(TIES, [1, 1])), "all 2 pairs or ties are ties: two levels"),
        (lambda: begin_answers(said(FIVE, [2, 2])), "all 2 strengths 1-5 are level 3: two"),
        (lambda: begin_answers(said(FIVE, [0]), lapse=1.0), r"lapse is 1\.0: a share"),
        (lambda: begin_answers(said(FIVE, [0]), intercept=-1.0), r"intercept is -1\.0: 0 or more"),
        (lambda: begin_answers(said(FIVE, [0]), ties="elo"), "ties is 'elo': davidson or"),
    ],
)
def test_what_cannot_be_learned_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
