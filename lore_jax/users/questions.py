"""The next comparison to ask every user for: which answer would teach most.

Users are handled in chunks, so that a matrix users x candidates is never whole, and chunks are
dealt to the cores. What an answer is worth is `users/criteria.py`, written for one user.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Components, Posterior
from lore_jax.model.prior import Prior
from lore_jax.parallel.devices import num_cores
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.users.adapt import pad_answers, padded_length, project
from lore_jax.users.candidates import (
    AnsweredPairs,
    candidate_pairs,
    check_asked,
    check_pairs,
    check_question,
    check_rows,
)
from lore_jax.users.criteria import (
    Criterion,
    PairFeatures,
    Picks,
    Targets,
    next_questions,
    pair_features,
)

_SHARED_AT_A_TIME = 1 << 18  # margins of shared candidates
_OWN_AT_A_TIME = 1 << 16  # of candidates of each user's own, whose features lie in memory too
_NEAR = 0.01  # of the typical distance of two responses: nearer ones are not compared


class Questions(NamedTuple):
    """The comparisons to ask each user for, the first one first; made by `ask`.

    Attributes:
        first: row of one response, int32 `[users, count]`; -1 where no candidate was left.
        second: row of the other.
        index: which of the candidates it is; -1 where none was left.
        probability: with which the user is expected to choose `first`; NaN where none was left.
        gain: what the criterion expects of the answer (in nats: "information" and "random"; in
            squared logits: "variance" and "v_optimal"; in logits: "best_reply").
    """

    first: Int[np.ndarray, "users count"]
    second: Int[np.ndarray, "users count"]
    index: Int[np.ndarray, "users count"]
    probability: Float[np.ndarray, "users count"]
    gain: Float[np.ndarray, "users count"]


def ask(
    model: Model,
    posterior: Posterior,
    prefs: Preferences | Float[Array | np.ndarray, "responses dim"],
    candidates: ArrayLike | None = None,
    *,
    count: int = 1,
    criterion: Criterion = "information",
    targets: ArrayLike | None = None,
    asked: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> Questions:
    """The comparisons whose answers would teach most about each user.

    - "information": mutual information between the answer and the weights;
    - "variance": variance of the margin, `f' S f`;
    - "v_optimal": expected drop of the mean variance of the margins of `targets`;
    - "best_reply": expected rise of the expected reward of the best of the replies `targets`;
    - "random": any, as a control.

    Several questions are chosen one after the other, each with the covariance that is expected
    after those before it. Not asked are pairs that the user answered (in `prefs`), pairs in
    `asked`, pairs whose responses the model cannot tell apart, and, of pairs that are nearly the
    same question, more than one.

    Args:
        model: a fitted model.
        posterior: of the users.
        prefs: the answers of these users so far, or just the table of responses. Under a mixture
            prior the answers say how likely each component is; with a table alone the posterior is
            taken as one Gaussian.
        candidates: rows of the table, `[c, 2]`, the same for everybody, or `[users, c, 2]`, padded
            by -1; None: pairs of responses of one prompt (`candidate_pairs`).
        count: how many questions to each user.
        criterion: what is maximised.
        targets: what the model will be asked later: pairs `[t, 2]` for "v_optimal" (None: the
            candidates), rows of replies `[t]` for "best_reply".
        asked: candidates not to ask, bool `[c]` or `[users, c]`.
        key: source of the questions of "random", which needs one.

    Returns:
        The `Questions`, on the host. A user with fewer candidates left than `count` gets -1.

    Raises:
        ValueError: there are no candidates, or fewer than `count`; one is outside the table; the
            posterior is of other users; or the model's users have no spread (a simplex prior).

    Example:
        >>> questions = ask(model, posterior, shots, count=2)
        >>> questions.first.shape == (posterior.num_users, 2)
        True

    Reference:
        Houlsby et al. 2011, arXiv 1112.5745 (information); Chaloner and Verdinelli 1995, "Bayesian
        experimental design: a review" (V-optimality); Frazier et al. 2009, "The knowledge-gradient
        policy for correlated normal beliefs" (best reply).
    """
    answers = prefs if isinstance(prefs, Preferences) else None
    embeddings = prefs.embeddings if isinstance(prefs, Preferences) else prefs
    if answers is not None and answers.num_users != posterior.num_users:
        raise ValueError(
            f"the posterior has {posterior.num_users} users, "
            f"the preferences have {answers.num_users}"
        )
    if candidates is None:
        if answers is None:
            raise ValueError("candidates is None: with a table alone, pairs [c, 2] are expected")
        candidates = candidate_pairs(answers)
    pairs = check_pairs("candidates", candidates, posterior.num_users, embeddings.shape[0])
    check_question(model, pairs, count, criterion, key)
    table = rewards(model, embeddings).table
    goal = targets_of(criterion, targets, pairs, np.asarray(table))
    mask = check_asked(asked, posterior.num_users, pairs.shape[-2])
    return _ask_in_chunks(
        model, posterior, table, answers, pairs, goal, mask, key, count=count, criterion=criterion
    )


def targets_of(
    criterion: str, targets: ArrayLike | None, pairs: np.ndarray, table: np.ndarray
) -> Targets:
    """What a criterion is about, in the coordinates of the weights."""
    rank = table.shape[1]
    moment, replies = np.zeros((rank, rank), np.float32), table[:1]
    if criterion == "best_reply":
        if targets is None:
            raise ValueError("targets is None: the rows [t] of the replies are expected")
        rows = check_rows("targets", targets, len(table))
        replies = table[rows]
    elif criterion == "v_optimal":
        if targets is not None:
            pairs = check_pairs("targets", targets, -1, len(table))
        pairs = pairs.reshape(-1, 2)
        pairs = pairs[pairs[:, 0] >= 0]
        for at in range(0, len(pairs), 1 << 16):
            some = pairs[at : at + (1 << 16)]
            features = table[some[:, 0]] - table[some[:, 1]]
            moment += features.T @ features / len(pairs)
    return Targets(jnp.asarray(moment), jnp.asarray(replies))


def _ask_in_chunks(
    model: Model,
    posterior: Posterior,
    table: jax.Array,
    answers: Preferences | None,
    pairs: Int[np.ndarray, "*users c 2"],
    targets: Targets,
    asked: np.ndarray | None,
    key: jax.Array | None,
    *,
    count: int,
    criterion: Criterion,
) -> Questions:
    users, c, is_shared = posterior.num_users, pairs.shape[-2], pairs.ndim == 2
    padded = padded_length(c)
    rows = np.full((*pairs.shape[:-2], padded, 2), -1, np.int32)
    rows[..., :c, :] = pairs
    at_a_time = _SHARED_AT_A_TIME if is_shared else _OWN_AT_A_TIME
    size = max(1, min(1 << max(0, users - 1).bit_length(), at_a_time // padded))
    typical = typical_distance(np.asarray(table))
    shared = question_features(table, rows, typical) if is_shared else None
    is_mixture = model.prior.num_components > 1
    known_of = _known_of(model, posterior, table, answers if is_mixture else None)
    key = jax.random.key(0) if key is None else key
    answered = None
    if answers is not None and answers.num_pairs:
        answered = AnsweredPairs(rows, len(table))
    out = Picks(
        np.empty((users, count), np.int32),  # pyright: ignore[reportArgumentType]
        np.empty((users, count), np.float32),  # pyright: ignore[reportArgumentType]
        np.empty((users, count), np.float32),  # pyright: ignore[reportArgumentType]
    )

    def work(start: int) -> None:
        # The last chunk repeats its last user: all chunks have one shape.
        chunk = np.minimum(np.arange(start, start + size), users - 1)
        mask = None if answered is None or answers is None else answered.mask_of(answers, chunk)
        if asked is not None:
            given = np.zeros((len(chunk), padded), bool)
            given[:, :c] = asked if asked.ndim == 1 else asked[chunk]
            mask = given if mask is None else mask | given
        known = known_of(chunk)
        own = None if is_shared else question_features(table, rows[chunk], typical)
        picks = ask_chunk(
            model.likelihood, known, shared, own, mask, targets, key, chunk, criterion, count
        )
        part = slice(start, min(start + size, users))
        for field, values in zip(out, jax.device_get(picks), strict=True):
            field[part] = values[: part.stop - part.start]

    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

    def on_device(start: int) -> None:
        with jax.default_device(device):
            work(start)

    with ThreadPoolExecutor(num_cores()) as pool:
        for _ in pool.map(on_device, range(0, users, size)):
            pass
    index = np.asarray(out.index)
    chosen = pairs[index] if is_shared else np.take_along_axis(pairs, index[..., None], axis=1)
    chosen = np.where(index[..., None] < 0, -1, chosen)
    return Questions(chosen[..., 0], chosen[..., 1], index, *map(np.asarray, out[1:]))


def typical_distance(table: Float[np.ndarray, "responses rank"]) -> np.float32:
    """Two responses whose rewards are nearer, squared, are not told apart: they are no question."""
    return np.float32(_NEAR**2 * 2.0 * np.var(table, axis=0).sum())


def _known_of(
    model: Model, posterior: Posterior, table: Array, answers: Preferences | None
) -> Callable[[Int[np.ndarray, " users"]], Components]:
    """What is known of some users: from their answers, or from the posterior as one Gaussian."""
    if answers is None:
        weights, covariance = np.asarray(posterior.weights), np.asarray(posterior.covariance)
        return lambda users: as_components(weights[users], covariance[users])
    along = project(model.prior, table)
    longest = padded_length(int(answers.pairs_per_user().max(initial=1)))

    def solve(users: Int[np.ndarray, " users"]) -> Components:
        features, weight = pad_answers(along, answers, users, longest)
        return _components(model.prior, model.likelihood, features, jnp.asarray(weight))

    return solve


@jax.jit
def as_components(weights: Array, covariance: Array) -> Components:
    """Posteriors `N(weights, covariance)` of users as mixtures of one component."""
    return Components(jnp.zeros((len(weights), 1)), weights[:, None], covariance[:, None])


@jax.jit
def _components(prior: Prior, likelihood: Likelihood, along: Array, weight: Array) -> Components:
    return prior.components(along, weight, likelihood)


@jax.jit
def question_features(table: Array, rows: Array, typical: Array) -> tuple[PairFeatures, Array]:
    """Features of candidates, and which of them are questions."""
    features = table[rows[..., 0]] - table[rows[..., 1]]
    differ = jnp.sum(features**2, axis=-1) > typical
    return pair_features(features), differ & (rows[..., 0] >= 0)


@functools.partial(jax.jit, static_argnames=("criterion", "count"))
def ask_chunk(
    likelihood: Likelihood,
    known: Components,
    shared: tuple[PairFeatures, Array] | None,
    own: tuple[PairFeatures, Array] | None,
    asked: Array | np.ndarray | None,
    targets: Targets,
    key: Array,
    users: Array | np.ndarray,
    criterion: Criterion,
    count: int,
) -> Picks:
    """The picks of a chunk of users, `[users, count]`; candidates are shared or their own."""

    def one(
        known: Components,
        own: tuple[PairFeatures, Array] | None,
        asked: Array | None,
        user: Array,
    ) -> Picks:
        features, available = own if shared is None else shared  # pyright: ignore
        if asked is not None:
            available = available & ~asked
        return next_questions(
            likelihood,
            known,
            features,
            available,
            targets,
            jax.random.fold_in(key, user),
            criterion=criterion,
            count=count,
        )

    axes = (0, None if own is None else 0, None if asked is None else 0, 0)
    mapped = None if asked is None else jnp.asarray(asked)
    return jax.vmap(one, axes)(known, own, mapped, jnp.asarray(users))
