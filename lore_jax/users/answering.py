"""Users known by answers of any kind: adapting to them, and the probability of every answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers, Feedback
from lore_jax.model.answer_model import AnswerModel, num_entries
from lore_jax.model.model import Model, Rewards, rewards, table_of_rewards
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior, population_posterior
from lore_jax.parallel.devices import num_cores
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.solvers.rankings import pairs_of
from lore_jax.users.adapt import padded_length
from lore_jax.users.answer_solver import AnswerSolver
from lore_jax.users.entries import (
    Entries,
    buckets_of_users,
    lay_out_entries,
    most_answers,
    rows_of_entries,
)
from lore_jax.users.predict import moments_of_margins

_ENTRIES_PER_CHUNK = {"cpu": 2**14, "accelerator": 2**22}  # as in `adapt`: a core's cache
_LEAST_USERS = 64
_MOST_OUTCOMES = 120  # whose probabilities are listed: rankings of five


@pytree
class AnswerPosterior:
    """What is known of users after their answers.

    Attributes:
        users: the posterior of their weights, as `adapt` gives it: margins and scores take it.
        intercept: mean of each user's intercept of ratings, `[users]`; 0 without ratings.
        intercept_variance: its variance, `[users]`; the population's without ratings.
        intercept_covariance: its covariance with the weights, `[users, rank]`.
    """

    users: Posterior
    intercept: Float[np.ndarray | Array, " users"]
    intercept_variance: Float[np.ndarray | Array, " users"]
    intercept_covariance: Float[np.ndarray | Array, "users rank"]


class AnswerProbabilities(NamedTuple):
    """Predictions of answers of one kind.

    Attributes:
        kind: what they say.
        probability: of every outcome, `[answers, outcomes]`, or None where there are more than 120.
            Of levels: by level; of pairs and ties: second, (neither,) first; of rankings: in the
            order of `outcomes_of`.
        recorded: which outcome was said, `[answers]`.
        log_probability: of that one, in nats, `[answers]`.
    """

    kind: Kind
    probability: Float[np.ndarray, "answers outcomes"] | None
    recorded: Int[np.ndarray, " answers"]
    log_probability: Float[np.ndarray, " answers"]


def outcomes_of(kind: Kind) -> list[tuple[int, ...]]:
    """The orders of responses that a ranking or best-worst choice may say; the first is recorded.

    Example:
        >>> outcomes_of(Kind("ranking", 3, places=1))
        [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
    """
    everything = range(kind.num_items)
    if kind.name == "best_worst":
        last = kind.num_items - 1
        ends = [(0, last), *(e for e in itertools.permutations(everything, 2) if e != (0, last))]
        return [(best, *(i for i in everything if i not in (best, w)), w) for best, w in ends]
    said = itertools.permutations(everything, kind.places)
    return [(*first, *(i for i in everything if i not in first)) for first in said]


def adapt_answers(model: Model, answers: AnswerModel, feedback: Feedback) -> AnswerPosterior:
    """Weights and posterior of every user from answers of any kinds, the basis frozen.

    The mode of `sum_i loss_i(w, b) - log prior(w) + b^2 / 2 tau^2` over weights and intercept, and
    the Laplace covariance there, by the prior's own solve. Users who gave no answer are the
    population. With a lapse rate the search begins at the mode without lapses.

    Args:
        model: a fitted model with a Gaussian prior, or a mixture.
        answers: how people answer.
        feedback: the answers, over a table of the same encoder as the fit's.

    Returns:
        An `AnswerPosterior` on the host. Never raises for a user: see `users.converged`.

    Raises:
        ValueError: a scale of the feedback is not one of `answers`, the prior is not Gaussian, or
            the table is of another width than the model's.

    Example:
        >>> known = adapt_answers(model, begin_answers(feedback), feedback)
        >>> bool(known.users.converged.all())
        True
    """
    check_scales(answers, (block.kind for block in feedback.blocks))
    with_intercept = feedback.has_ratings
    table = table_of_rewards(model, feedback.embeddings)
    solver = AnswerSolver(model.prior, answers, table, with_intercept=with_intercept)
    posterior = population_posterior(model, feedback.num_users, feedback.user_ids)
    out = {name: np.array(getattr(posterior, name)) for name in POSTERIOR_ARRAYS}
    rank = model.rank
    intercept = np.zeros(feedback.num_users, np.float32)
    variance = np.full(feedback.num_users, float(answers.intercept) ** 2, np.float32)
    covariance = np.zeros((feedback.num_users, rank), np.float32)

    def solve(entries: Entries, known: int) -> None:
        users, found = entries.users[:known], solver.solve(entries)
        for name in ("converged", "steps", "grad_norm"):
            out[name][users] = getattr(found, name)[:known]
        spread = np.asarray(found.covariance)[:known]
        out["weights"][users] = found.weights[:known, :rank]
        out["covariance"][users] = spread[:, :rank, :rank]
        if with_intercept:
            intercept[users] = found.weights[:known, rank]
            variance[users] = spread[:, rank, rank]
            covariance[users] = spread[:, rank, :rank]

    on_cpu = next(iter(solver.table.devices())).platform == "cpu"
    most = _ENTRIES_PER_CHUNK["cpu" if on_cpu else "accelerator"]
    jobs = list(_chunks(feedback, most, neighbours=solver.neighbours))
    # As in `adapt`: the default device is the caller's thread's.
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def work(job: tuple[Entries, int]) -> None:
        with jax.default_device(device):
            solve(*job)

    with ThreadPoolExecutor(num_cores() if on_cpu else 2) as pool:
        for _ in pool.map(work, jobs):
            pass
    out["shots"] = feedback.answers_per_user().astype(np.int32)
    users = Posterior(**out, user_ids=feedback.user_ids)
    return AnswerPosterior(users, intercept, variance, covariance)


def population_answers(model: Model, answers: AnswerModel, feedback: Feedback) -> AnswerPosterior:
    """The same of users of whom nothing is known.

    Example:
        >>> nobody = population_answers(model, begin_answers(feedback), feedback)
        >>> int(nobody.users.shots.max())
        0
    """
    users = population_posterior(model, feedback.num_users, feedback.user_ids)
    nothing = np.zeros(feedback.num_users, np.float32)
    spread = nothing + float(answers.intercept) ** 2
    return AnswerPosterior(
        users, nothing, spread, np.zeros((feedback.num_users, model.rank), np.float32)
    )


def answer_probabilities(
    model: Model, answers: AnswerModel, posterior: AnswerPosterior, feedback: Feedback
) -> list[AnswerProbabilities]:
    """The probability of every outcome of each answer, what is not known integrated.

    Args:
        model: a fitted model.
        answers: how people answer.
        posterior: of the users of `feedback`, in the same order.
        feedback: answers, seen or not.

    Returns:
        One `AnswerProbabilities` for each block of the feedback.

    Raises:
        ValueError: the posterior is of another number of users, or a scale is unknown.

    Example:
        >>> how = begin_answers(feedback)
        >>> known = adapt_answers(model, how, feedback)
        >>> predicted = answer_probabilities(model, how, known, feedback)
        >>> [str(block.kind) for block in predicted][:2]
        ['pairs', 'pairs or ties']
    """
    check_scales(answers, (block.kind for block in feedback.blocks))
    if posterior.users.num_users != feedback.num_users:
        got = f"the posterior has {posterior.users.num_users} users"
        raise ValueError(f"{got}, the feedback has {feedback.num_users}")
    table = _padded(rewards(model, feedback.embeddings))
    return [_predict(answers, table, posterior, block) for block in feedback.blocks]


def _predict(
    answers: AnswerModel, table: Rewards, posterior: AnswerPosterior, block: Answers
) -> AnswerProbabilities:
    kind, count, size = block.kind, len(block), num_entries(block.kind)
    num_responses = table.table.shape[0] - 1
    first, second = rows_of_entries(kind, block.items, num_responses)
    user, users = np.repeat(block.user, size), posterior.users
    mean, variance = moments_of_margins(
        table, first.reshape(-1), second.reshape(-1), user, users.weights, users.covariance
    )
    if kind.name == "rating":
        by_weight = np.asarray(posterior.intercept_covariance)[user]
        both = np.sum(np.asarray(table.table)[first[:, 0]] * by_weight, axis=1)
        mean = mean + posterior.intercept[user]
        variance = jnp.maximum(variance + posterior.intercept_variance[user] + 2.0 * both, 0.0)
    mean, variance = jnp.asarray(mean), jnp.asarray(variance)

    def predictive(outcome: np.ndarray, mean: Array, variance: Array) -> np.ndarray:
        found = _predictive(answers.likelihood(kind, jnp.asarray(outcome)), mean, variance)
        return np.asarray(found).reshape(count, size).sum(axis=1)

    if kind.levels:
        levels = [np.full(count, level, np.int32) for level in range(kind.levels)]
        if kind.name == "pair":  # the likelihood is of the first response: the other one is turned
            each = np.stack([predictive(block.outcome, s * mean, variance) for s in (-1, 1)], 1)
        else:
            each = np.stack([predictive(level, mean, variance) for level in levels], axis=1)
        recorded = block.outcome
        own = np.take_along_axis(each, recorded[:, None], 1)[:, 0]
        return AnswerProbabilities(kind, np.exp(each), recorded, own)
    recorded = np.zeros(count, np.int32)
    if kind.num_outcomes > _MOST_OUTCOMES:
        own = predictive(block.outcome, mean, variance)
        return AnswerProbabilities(kind, None, recorded, own)
    each = []
    for order in outcomes_of(kind):
        entry, sign = _turned(order)
        turned = [np.asarray(x).reshape(count, size)[:, entry] for x in (mean, variance)]
        arrays = [jnp.asarray(x.reshape(-1)) for x in (turned[0] * sign, turned[1])]
        each.append(predictive(block.outcome, *arrays))
    # Each order is integrated on a lattice of its own: together they miss 1 by a thousandth.
    probability = np.exp(np.stack(each, axis=1))
    probability /= probability.sum(axis=1, keepdims=True)
    return AnswerProbabilities(kind, probability, recorded, np.log(probability[:, 0]))


def _turned(order: tuple[int, ...]) -> tuple[list[int], Float[np.ndarray, " entries"]]:
    """Which entry each pair of a reordered answer was, and whether its margin changes sign."""
    number = {pair: index for index, pair in enumerate(pairs_of(len(order)))}
    pairs = [(order[a], order[b]) for a, b in pairs_of(len(order))]
    entry = [number[min(pair), max(pair)] for pair in pairs]
    return entry, np.array([1.0 if a < b else -1.0 for a, b in pairs], np.float32)


def check_scales(answers: AnswerModel, kinds: Iterable[Kind]) -> None:
    """Refuses kinds of answers of which the answer model does not know how they are given.

    Raises:
        ValueError: a scale is unknown.
    """
    for kind in kinds:
        if kind.levels and kind.name != "pair" and kind.scale not in answers.free:
            known = ", ".join(sorted(answers.free)) or "none"
            raise ValueError(f"the answer model has no scale {kind.scale!r}: it has {known}")


def _padded(table: Rewards) -> Rewards:
    """With a row of zeros behind, of which everything is known."""
    return Rewards(
        jnp.pad(table.table, ((0, 1), (0, 0))),
        jnp.pad(table.variance, ((0, 1), (0, 0))),
        jnp.pad(table.coordinates, ((0, 0), (0, 1), (0, 0))),
    )


def _chunks(
    feedback: Feedback, most_entries: int, *, neighbours: bool
) -> Iterator[tuple[Entries, int]]:
    """Entries of some users at a time, and how many of the users are no padding."""
    for users in buckets_of_users(feedback):
        counts = [padded_length(most_answers(block, users)) for block in feedback.blocks]
        entries = sum(
            count * num_entries(block.kind, neighbours=neighbours)
            for count, block in zip(counts, feedback.blocks, strict=True)
        )
        most = max(1, most_entries // entries)
        most -= most % _LEAST_USERS if most > _LEAST_USERS else 0
        chunk = min(most, max(_LEAST_USERS, 1 << (len(users) - 1).bit_length()))
        for start in range(0, len(users), chunk):
            part = users[start : start + chunk]
            padded = np.concatenate([part, np.repeat(part[-1:], chunk - len(part))])
            yield lay_out_entries(feedback, padded, counts, neighbours=neighbours), len(part)


@jax.jit
def _predictive(likelihood: Likelihood, mean: Array, variance: Array) -> Array:
    return likelihood.predictive(mean, variance)
