"""The benchmark's questions: asking everybody, and a session that answers at once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from benchmarks.throughput_parts import SEED, Row, Sizes, median_seconds, priors
from lore_jax.data.answer_kinds import Kind
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import population_posterior
from lore_jax.users.criteria import Criterion

RANK, RESPONSES = 8, 5000
_KEPT = 32  # answers of a kind
_KINDS = (
    Kind("pair", 2, levels=2),
    Kind("tie", 2, levels=3),
    Kind("rating", 1, levels=5),
    Kind("ranking", 4, places=3),
)
_CRITERIA: tuple[Criterion, ...] = ("information", "variance", "v_optimal")


def model_and_pairs(size: Sizes) -> tuple[Model, np.ndarray, np.ndarray]:
    """A model of rank 8, a table, and 1,000 pairs of its responses."""
    rng = np.random.default_rng(SEED)
    table = rng.standard_normal((RESPONSES, RANK), np.float32)
    candidates = min(1000, 10 * size.score_users)
    first = rng.integers(RESPONSES, size=candidates)
    second = (first + rng.integers(1, RESPONSES, size=candidates)) % RESPONSES
    params = {"V": jnp.eye(RANK)}
    model = Model(LinearBasis(RANK), params, jnp.ones(()), priors(RANK)["gaussian"])
    return model, table, np.stack([first, second], axis=1)


def ask_section(size: Sizes) -> Iterator[Row]:
    """Everybody's next question, beside everybody's best ten of as many shared candidates."""
    model, table, pairs = model_and_pairs(size)
    rng, users = np.random.default_rng(SEED), size.score_users
    root = 0.2 * rng.standard_normal((users, RANK, RANK), np.float32)
    known = dataclasses.replace(
        population_posterior(model, users),
        weights=rng.standard_normal((users, RANK), np.float32),
        covariance=root @ root.transpose(0, 2, 1),
    )
    work = f"ask {users:,} users, {len(pairs):,} shared candidates, rank {RANK}"
    best = median_seconds(lambda: lore.top_k(model, known, table, 10, pairs[:, 0]), size.turns)
    note = "the measure: a product and a selection"
    yield {"work": work, "method": "best 10 of them", "seconds": best, "note": note}
    for criterion in _CRITERIA:
        seconds = median_seconds(
            lambda c=criterion: lore.ask(model, known, table, pairs, criterion=c).index, size.turns
        )
        note = f"{seconds / best:.2f} x the best 10; {users / seconds:,.0f} users/s"
        yield {"work": work, "method": f"lore_jax, {criterion}", "seconds": seconds, "note": note}


def session_section(size: Sizes) -> Iterator[Row]:
    """One user's answers one after the other, and everybody's in batches."""
    model, table, pairs = model_and_pairs(size)
    work, answers = "session of one user", min(200, 2 * size.score_users)
    begun = time.perf_counter()
    session = lore.Session(model, table, pairs)
    session.warmup()
    seconds = time.perf_counter() - begun
    note = "with the programs that the process, or its cache, has"
    yield {"work": work, "method": "lore_jax, warmup", "seconds": seconds, "note": note}
    taken = []
    for _ in range(answers):
        begun = time.perf_counter()
        question = session.ask()
        session.observe(question.first[0, 0], question.second[0, 0])
        session.score(np.arange(8))
        taken.append(time.perf_counter() - begun)
    middle = float(np.median(taken))
    note = f"ask, observe, score of 8: {1e3 * max(taken):.2f} ms at worst over {answers} answers"
    yield {"work": work, "method": "lore_jax, an answer", "seconds": middle, "note": note}
    rng, users = np.random.default_rng(SEED), size.score_users
    session = lore.Session(model, table, users=users)
    session.warmup()

    def everybody() -> np.ndarray:
        chosen = rng.integers(RESPONSES, size=users)
        rejected = (chosen + rng.integers(1, RESPONSES, size=users)) % RESPONSES
        return np.asarray(session.observe(chosen, rejected, np.arange(users)).weights)

    seconds = median_seconds(everybody, size.turns)
    work, note = f"an answer of each of {users:,} users", f"{users / seconds:,.0f} answers/s"
    yield {"work": work, "method": "lore_jax, session", "seconds": seconds, "note": note}
    yield from _answer_session_rows(size)


def _answer_session_rows(size: Sizes) -> Iterator[Row]:
    """One user's pairs, ties, ratings and rankings of four, as many as are kept of each."""
    model, table, _ = model_and_pairs(size)
    rng, work = np.random.default_rng(SEED), "session of one user, answers of four kinds"
    scales = {"tie 3": jnp.zeros(1), "rating 5": jnp.array([-2.0, 0.0, 0.0, 0.0])}
    candidates = {
        kind: np.stack([rng.choice(RESPONSES, kind.num_items, replace=False) for _ in range(40)])
        for kind in _KINDS
    }
    begun = time.perf_counter()
    session = lore.AnswerSession(
        model,
        AnswerModel(scales, jnp.ones(())),
        table,
        _KINDS,
        candidates=candidates,
        capacity=_KEPT,
    )
    session.warmup()
    seconds = time.perf_counter() - begun
    note = "with the programs that the process, or its cache, has"
    yield {"work": work, "method": "lore_jax, warmup", "seconds": seconds, "note": note}
    for kind in _KINDS:
        taken = []
        for _ in range(_KEPT):
            by_level = kind.levels and kind.name != "pair"
            outcome = int(rng.integers(kind.levels)) if by_level else None
            begun = time.perf_counter()
            session.observe(kind, session.ask(kind).items[0, 0], outcome=outcome)
            session.score(np.arange(8))
            taken.append(time.perf_counter() - begun)
        note = f"ask, observe, score of 8: {1e3 * max(taken):.2f} ms at worst over {_KEPT} answers"
        middle = float(np.median(taken))
        yield {"work": work, "method": f"lore_jax, {kind}", "seconds": middle, "note": note}
