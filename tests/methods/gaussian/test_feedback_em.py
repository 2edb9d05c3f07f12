"""EM on answers: gradients against differences of the Laplace evidence, parameters recovered."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.answer_kinds import Kind
from lore_jax.methods.gaussian.expected_loss import expected_loss
from lore_jax.methods.gaussian.feedback_em import AnswerBucket, answer_evidence, known_after
from lore_jax.model.answer_model import AnswerModel
from lore_jax.solvers.newton import map_estimate
from lore_jax.users.entries import segments

FIVE, STARS, TIES = Kind("strength", 2, 5), Kind("rating", 1, 4), Kind("tie", 2, 3)
ORDER = Kind("ranking", 3, places=2)
FREE = {"strength 5": [0.1, 0.2], "rating 4": [-1.0, 0.2, 0.1], "tie 3": [0.3]}
K, USERS = 2, 3


@pytest.fixture(scope="module")
def problem():
    """Four answers of each kind, of three users; in float64, where differences tell something."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        how = AnswerModel({k: jnp.array(v, jnp.float64) for k, v in FREE.items()}, jnp.array(1.0))
        outcome = [
            rng.integers(0, kind.levels or 1, (4, USERS)) for kind in (FIVE, STARS, TIES, ORDER)
        ]
        items = rng.standard_normal((K + 1, 4, 3, USERS))
        pairs = [items[:, :, a] - items[:, :, b] for a, b in itertools.combinations(range(3), 2)]
        of_orders = np.stack(pairs, axis=2).reshape(K + 1, 12, USERS)
        features = np.concatenate([rng.standard_normal((K + 1, 12, USERS)), of_orders], axis=1)
        weight = np.ones((24, USERS))
        weight[3] = 0.0
        rows = jnp.zeros((24, USERS), jnp.int32)
        bucket = AnswerBucket(
            rows,
            rows,
            jnp.asarray(weight),
            tuple(map(jnp.asarray, outcome)),
            (FIVE, STARS, TIES, ORDER),
        )
        yield how, bucket, jnp.asarray(features)


@jax.jit
def evidence(how, bucket, features):
    """Minus the Laplace evidence of all users, the modes found anew, and the estimate."""
    likelihood = segments(how, bucket.kinds, bucket.outcome)
    found = map_estimate(
        features[1:], features[0], bucket.pair_weight, jnp.zeros((K, USERS)), likelihood=likelihood
    )
    # A few full steps more: differences need the mode to many digits.
    d = found.deviation
    for _ in range(3):
        z = features[0] + jnp.einsum("kiu,ku->iu", features[1:], d)
        slope, curvature = (
            bucket.pair_weight * likelihood.slope(z),
            bucket.pair_weight * likelihood.curvature(z),
        )
        hessian = (
            jnp.einsum("aiu,iu,biu->uab", features[1:], curvature, features[1:]) + jnp.eye(K)[None]
        )
        gradient = jnp.einsum("aiu,iu->ua", features[1:], slope) + d.T
        d = d - jnp.linalg.solve(hessian, gradient[..., None])[..., 0].T
    z = features[0] + jnp.einsum("kiu,ku->iu", features[1:], d)
    curvature = bucket.pair_weight * likelihood.curvature(z)
    hessian = (
        jnp.einsum("aiu,iu,biu->uab", features[1:], curvature, features[1:]) + jnp.eye(K)[None]
    )
    loss = jnp.sum(bucket.pair_weight * likelihood.loss(z)) + 0.5 * jnp.sum(d**2)
    value = loss + 0.5 * jnp.sum(jnp.linalg.slogdet(hessian)[1])
    return value, d, jnp.moveaxis(jnp.linalg.inv(hessian), 0, -1)


def test_the_gradient_in_the_answer_parameters_is_that_of_the_evidence(problem):
    how, bucket, features = problem
    with jax.enable_x64(True):
        _, mode, covariance = evidence(how, bucket, features)
        known = [known_after(how, bucket, features, mode, covariance)]
        found = jax.grad(
            lambda free: answer_evidence(dataclasses.replace(how, free=free), (bucket,), known)
        )(how.free)
        for scale, values in how.free.items():
            for number in range(len(values)):
                ends = [
                    evidence(
                        dataclasses.replace(
                            how, free={**how.free, scale: values.at[number].add(sign * 1e-4)}
                        ),
                        bucket,
                        features,
                    )[0]
                    for sign in (1, -1)
                ]
                numeric = float(ends[0] - ends[1]) / 2e-4
                assert float(found[scale][number]) == pytest.approx(numeric, abs=1e-5), scale


def test_the_gradient_in_the_rewards_is_that_of_the_evidence_for_rankings_too(problem):
    # In the rewards, for of a ranking only differences of rewards are free to move.
    how, bucket, features = problem
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        _, mode, covariance = evidence(how, bucket, features)
        likelihood = segments(how, bucket.kinds, bucket.outcome)
        _, gradient = expected_loss(features, bucket.pair_weight, mode, covariance, likelihood)
        for part in ("levels", "rankings"):
            direction = np.zeros(features.shape)
            if part == "levels":
                direction[:, :12] = rng.standard_normal((K + 1, 12, USERS))
            else:
                items = rng.standard_normal((K + 1, 4, 3, USERS))
                pairs = [items[:, :, a] - items[:, :, b] for a, b in ((0, 1), (0, 2), (1, 2))]
                direction[:, 12:] = np.stack(pairs, axis=2).reshape(K + 1, 12, USERS)
            ends = [evidence(how, bucket, features + s * 1e-4 * direction)[0] for s in (1, -1)]
            numeric = float(ends[0] - ends[1]) / 2e-4
            assert float(jnp.sum(gradient * direction)) == pytest.approx(numeric, abs=2e-4), part
