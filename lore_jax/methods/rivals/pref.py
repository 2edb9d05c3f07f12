"""PReF: a users x pairs matrix of answers, factorised; its pair factors are linear in embeddings.

    z = lambda_u . (phi(e_chosen) - phi(e_rejected)),   phi(e) = Phi' e

Start. The answers are a matrix A of users x unordered pairs, +1 or -1, with gaps. Its leading left
singular vectors, gaps read as 0, are the user factors L, scaled to L'L = users I. With them the
pair factors B = A' L / answers x pairs minimise the squared error of A ~ L B' where gaps are as
likely everywhere, times 2 because E[A] = tanh(z / 2) ~ z / 2; ridge regression of B on the
differences x of the pairs gives Phi. A is never dense: subspace iteration needs A and A' times a
few vectors, sums over the pairs as they lie.

Joint descent by Adam on

    mean over pairs of loss(z)  +  .02 mean over users of |lambda_u|^2.

Nothing holds Phi but where the descent stops: the steps are chosen on validation, of one fit's
snapshots. A new user is the logistic mode with beta / 2 |lambda - mean|^2. In the paper that is
|lambda|^2, which makes a user without answers a coin; the mean of the fit's users is the method at
its best. Further against the paper: phi is linear, not the last layer of a language model.

Without pairs that several users judged A has no singular vectors worth having: it is refused.

Reference:
    Shenfeld et al. 2025, arXiv 2503.06358, sections 3.1 (factorisation) and 3.2 (new users).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int, PyTree

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Info, Stage
from lore_jax.methods.checks import check_positive, check_rank, possible_ranks
from lore_jax.methods.rivals.gaussian_weights import GaussianWeights, GaussianWeightsMethod
from lore_jax.parallel.buckets import FitData, PerUser, UserBucket, features
from lore_jax.parallel.devices import total
from lore_jax.solvers.likelihood import LOGISTIC

RANKS = (2, 4, 8)
BETAS = (30.0, 10.0, 3.0)
STEPS = (30, 100, 300)

_L2 = 0.02
_ROUNDS = 8  # of subspace iteration
_OVERSAMPLED = 8  # vectors more than are wanted, so that the last ones converge as well
_CG_STEPS = 50
# Of a table of pair factors. Unordered pairs are numbered exactly where the responses are fewer
# than a thousand; beyond that some share a row, which blurs the start a little.
_MOST_PAIRS = 1_048_573
_TINY = 1e-6


class Factors(NamedTuple):
    """What the descent moves.

    Attributes:
        phi: Phi, `[dim, k]`.
        users: lambda, `[k, users]`.
    """

    phi: Float[Array, "*shards dim k"]
    users: PerUser


class _Answers(NamedTuple):
    """A bucket's part of A, `[shots, users]`: which pair, and the answer; 0 for padding."""

    pair: Int[Array, "shots users"]
    sign: Float[Array, "shots users"]


def start_factors(data: FitData, count: int, *, key: jax.Array) -> Factors:
    """User factors by truncated SVD, and Phi by ridge regression of the pair factors.

    Args:
        data: one shard.
        count: how many factors.
        key: where the subspace iteration starts.

    Returns:
        The factors, the strongest first; users without answers have 0.
    """
    responses, dim = data.embeddings.shape
    rows = min(responses**2, _MOST_PAIRS)
    answers = [_answers(bucket, responses, rows) for bucket in data.buckets]

    def to_pairs(users: list[Array]) -> Array:
        """`A' L`, `[rows, k]`."""
        parts = [
            jnp.zeros((rows, len(own)))
            .at[answer.pair.ravel()]
            .add((own[:, None] * answer.sign[None]).reshape(len(own), -1).T)
            for own, answer in zip(users, answers, strict=True)
        ]
        return total(sum(parts))

    def to_users(pairs: Array) -> list[Array]:
        """`A B`, `[k, users]` for each bucket."""
        return [
            jnp.sum(jnp.moveaxis(pairs[answer.pair], -1, 0) * answer.sign[None], axis=1)
            for answer in answers
        ]

    def improve(_: Array, users: list[Array]) -> list[Array]:
        users = to_users(to_pairs(users))
        values, vectors = jnp.linalg.eigh(total(sum(own @ own.T for own in users)))
        kept = jnp.maximum(values, _TINY * values[-1:])
        rotation = (vectors / jnp.sqrt(kept)[None])[:, ::-1]
        return [rotation.T @ own for own in users]

    def draw(user: Array) -> Array:
        return jax.random.normal(
            jax.random.fold_in(key, jnp.maximum(user, 0)), (count + _OVERSAMPLED,)
        )

    users = [jax.vmap(draw)(jnp.asarray(ids)).T for ids in data.users.buckets]
    users = jax.lax.fori_loop(0, _ROUNDS, improve, users)
    judged = [jnp.any(answer.sign != 0, axis=0) for answer in answers]
    size = jnp.sqrt(total(sum(jnp.sum(some) for some in judged)).astype(jnp.float32))
    users = [size * own[:count] for own in users]

    # Ridge regression over distinct pairs: one that n users judged stands n times, each of 1 / n.
    counted = [
        jnp.zeros(rows).at[answer.pair.ravel()].add(jnp.abs(answer.sign).ravel())
        for answer in answers
    ]
    often = total(sum(counted))
    share = [jnp.abs(answer.sign) / jnp.maximum(often[answer.pair], 1.0) for answer in answers]
    distinct = total(sum(jnp.sum(part) for part in share))
    factors = 2.0 * to_pairs(users) * distinct / jnp.sum(often)

    def differences(phi: Array) -> list[Array]:
        table = jnp.matmul(data.table, phi / data.input_scale, preferred_element_type=jnp.float32)
        return [features(table, bucket) for bucket in data.buckets]

    transpose = jax.linear_transpose(differences, jax.ShapeDtypeStruct((dim, count), jnp.float32))

    def gram(phi: Array) -> Array:
        parts = zip(share, differences(phi), strict=True)
        return total(transpose([own[None] * part for own, part in parts])[0]) + ridge * phi

    ridge = distinct / dim  # the mean eigenvalue of `X'X`, for rows of norm 1
    target = [
        jnp.moveaxis(factors[answer.pair], -1, 0) * (own * answer.sign)[None]
        for answer, own in zip(answers, share, strict=True)
    ]
    phi, _ = cg(gram, total(transpose(target)[0]), maxiter=_CG_STEPS)
    return Factors(phi, PerUser(tuple(users)))


def _answers(bucket: UserBucket, responses: int, rows: int) -> _Answers:
    chosen, rejected = jnp.asarray(bucket.chosen), jnp.asarray(bucket.rejected)
    weight = jnp.asarray(bucket.pair_weight)
    least, most = jnp.minimum(chosen, rejected), jnp.maximum(chosen, rejected)
    pair = (least.astype(jnp.uint32) * responses + most.astype(jnp.uint32)) % rows
    sign = jnp.where(chosen == least, 1.0, -1.0) * (weight > 0)
    return _Answers(pair.astype(jnp.int32), sign)


@flax.struct.dataclass
class PReFState:
    """What the next step needs.

    Attributes:
        factors: where the descent is.
        optimiser: Adam's state.
        count: the steps taken.
        phi: Phi after each of `STEPS`, `[stops, dim, k]`.
        mean: the users' mean there, `[stops, k]`.
    """

    factors: Factors
    optimiser: optax.OptState
    count: Int[Array, "*shards"]
    phi: Float[Array, "*shards stops dim k"]
    mean: Float[Array, "*shards stops k"]


@dataclasses.dataclass(frozen=True)
class PReFConfig(GaussianWeightsMethod):
    """Factorised answers; None: chosen on validation.

    Attributes:
        rank: J, how many factors.
        beta: precision of a user's vector around the mean.
        steps: of the joint descent.
        learning_rate: Adam's.

    Example:
        >>> PReFConfig(rank=2, beta=1.0, steps=30).num_steps([])
        30
    """

    rank: int | None = None
    beta: float | None = None
    steps: int | None = None
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        check_rank(self.rank)
        check_positive(self, "beta", "steps", "learning_rate")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The rank.

        Raises:
            ValueError: no pair was judged by two users, or the rank exceeds the dim.
        """
        if not num_shared_pairs(prefs):
            raise ValueError(
                "no pair of responses was judged by two users: PReF factorises a users x pairs "
                "matrix and needs pairs that several users judged"
            )
        ranks = possible_ranks(self.rank, RANKS, prefs.dim, ()) or [prefs.dim]
        return [Stage("rank", self, tuple({"rank": rank} for rank in ranks))]

    def variants(self) -> list[Choice]:
        """Where the descent stops, and beta."""
        steps = STEPS if self.steps is None else (self.steps,)
        betas = BETAS if self.beta is None else (self.beta,)
        return [{"steps": count, "beta": beta} for count, beta in itertools.product(steps, betas)]

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, " k"]]:
        """1 for the factors in use."""
        columns = jnp.arange(max(choice["rank"] for choice in choices))
        return [(columns < choice["rank"]).astype(jnp.float32) for choice in choices]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """What is given, or as far as there is to choose from."""
        return STEPS[-1] if self.steps is None else self.steps

    def init(self, data: FitData, hyper: Float[Array, " k"], *, key: jax.Array) -> PReFState:
        """The start by SVD and regression."""
        start = start_factors(data, len(hyper), key=key)
        users = tuple(jnp.asarray(own) * hyper[:, None] for own in start.users.buckets)
        factors = Factors(start.phi * hyper[None], PerUser(users))
        moved: PyTree = factors
        stops = len(STEPS)
        return PReFState(
            factors,
            optax.adam(self.learning_rate).init(moved),
            jnp.zeros((), jnp.int32),
            jnp.zeros((stops, *factors.phi.shape)),
            jnp.zeros((stops, len(hyper))),
        )

    def step(
        self, state: PReFState, data: FitData, hyper: Float[Array, " k"]
    ) -> tuple[PReFState, Info]:
        """One step of the joint descent."""
        before: PyTree = state.factors
        loss, gradient = jax.value_and_grad(lambda factors: _objective(factors, data))(before)
        loss, phi = total((loss, gradient.phi))
        gradient = gradient._replace(phi=phi)
        updates, optimiser = optax.adam(self.learning_rate).update(gradient, state.optimiser)
        factors: PyTree = optax.apply_updates(before, updates)
        count = state.count + 1
        here = jnp.array(STEPS) == count
        kept = PReFState(
            factors,
            optimiser,
            count,
            jnp.where(here[:, None, None], factors.phi[None], state.phi),
            jnp.where(here[:, None], _mean(factors, data)[None], state.mean),
        )
        return kept, Info(loss, jnp.sqrt(jnp.sum(phi**2)))

    def finish(self, state: PReFState, data: FitData, hyper: Float[Array, " k"]) -> GaussianWeights:
        """Phi and the users' mean at each stop, with each beta."""
        phi, mean = state.phi, state.mean
        if self.steps is not None:
            phi, mean = state.factors.phi[None], _mean(state.factors, data)[None]
        variants = self.variants()
        betas = jnp.array([variant["beta"] for variant in variants], jnp.float32)
        each = len(variants) // len(phi)
        return GaussianWeights(
            jnp.repeat(phi / data.input_scale, each, axis=0),
            jnp.repeat(mean, each, axis=0),
            hyper[None] / jnp.sqrt(betas)[:, None],
        )


def _weights(data: FitData) -> list[Float[Array, "shots users"]]:
    return [jnp.asarray(bucket.pair_weight) for bucket in data.buckets]


def _judging(data: FitData) -> list[Float[Array, " users"]]:
    """1 for users with an answer."""
    return [jnp.any(weight > 0, axis=0).astype(jnp.float32) for weight in _weights(data)]


def _mean(factors: Factors, data: FitData) -> Float[Array, " k"]:
    """Of the vectors of users with an answer."""
    users = zip(factors.users.buckets, _judging(data), strict=True)
    summed = [(jnp.asarray(own) @ one, jnp.sum(one)) for own, one in users]
    vectors, count = total(jax.tree.map(lambda *parts: sum(parts), *summed))
    return vectors / count


def _objective(factors: Factors, data: FitData) -> Float[Array, ""]:
    """This shard's part of the objective."""
    weights, judging = _weights(data), _judging(data)
    pairs, users = total((sum(map(jnp.sum, weights)), sum(map(jnp.sum, judging))))
    table = jnp.matmul(
        data.table, factors.phi / data.input_scale, preferred_element_type=jnp.float32
    )
    loss = jnp.zeros(())
    for bucket, weight, one, own in zip(
        data.buckets, weights, judging, map(jnp.asarray, factors.users.buckets), strict=True
    ):
        along = features(table, bucket)
        margin = sum((along[a] * own[a][None] for a in range(len(along))), jnp.zeros_like(weight))
        loss += jnp.sum(weight * LOGISTIC.loss(margin)) / pairs
        loss += _L2 * jnp.sum(one[None] * own**2) / users
    return loss


def num_shared_pairs(prefs: Preferences) -> int:
    """How many unordered pairs of responses two or more users judged.

    Example:
        >>> table = np.eye(3, dtype=np.float32)
        >>> num_shared_pairs(from_arrays(table, [0, 1, 2], [1, 0, 1], [0, 1, 1]))
        1
    """
    kept = prefs.pair_weight > 0
    sides = np.sort(np.stack([prefs.chosen[kept], prefs.rejected[kept]]), axis=0)
    answers = np.unique(np.stack([*sides, prefs.user[kept]]), axis=1)[:2]
    users = np.unique(answers, axis=1, return_counts=True)[1]
    return int((users > 1).sum())
