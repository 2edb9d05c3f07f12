import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit

from lore_jax.solvers.interior_point import simplex_estimate

solve = jax.jit(simplex_estimate)


def simulated(seed, rank, shots, users, scale=1.0, flipped=0.2):
    """Features `[rank, shots, users]` of users with weights near the corners of the simplex."""
    rng = np.random.default_rng(seed)
    features = scale * rng.standard_normal((rank, shots, users))
    weights = rng.dirichlet(np.full(rank, 0.3), users).T
    sign = np.sign(np.einsum("ksu,ku->su", features, weights))
    sign *= np.where(rng.random((shots, users)) < flipped, -1.0, 1.0)
    return (features * sign).astype(np.float32)


def loss(features, weight, w):
    """The mean loss of one user and its gradient, in float64."""
    features, weight = np.asarray(features, np.float64), np.asarray(weight, np.float64)
    share = weight / weight.sum()
    margin = np.asarray(w, np.float64) @ features
    return np.sum(share * np.logaddexp(0.0, -margin)), -features @ (share * expit(-margin))


def on_the_simplex(w):
    w = np.asarray(w, np.float64)
    return w / w.sum()


def slsqp(features, weight):
    rank = len(features)
    starts = [np.full(rank, 1.0 / rank), *np.random.default_rng(0).dirichlet(np.ones(rank), 2)]
    found = [
        scipy.optimize.minimize(
            lambda w: loss(features, weight, w),
            start,
            jac=True,
            bounds=[(0.0, 1.0)] * rank,
            constraints={
                "type": "eq",
                "fun": lambda w: w.sum() - 1.0,
                "jac": lambda w: np.ones(rank),
            },
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in starts
    ]
    return min(
        loss(features, weight, np.maximum(one.x, 0.0) / np.maximum(one.x, 0.0).sum())[0]
        for one in found
    )


CASES = {
    "ordinary": {"rank": 5, "shots": 10},
    "two columns": {"rank": 2, "shots": 10},
    "one shot": {"rank": 5, "shots": 1},
    "rolled factor": {"rank": 13, "shots": 20},
    "nobody errs": {"rank": 5, "shots": 10, "flipped": 0.0},
    "tiny features": {"rank": 5, "shots": 10, "scale": 1e-3},
    "large features": {"rank": 5, "shots": 10, "scale": 10.0},
    "huge features": {"rank": 5, "shots": 10, "scale": 100.0},
}


@pytest.mark.parametrize("name", CASES)
def test_against_scipy_and_the_gap_certifies(name):
    features = simulated(0, users=16, **CASES[name])
    weight = np.random.default_rng(1).uniform(0.2, 3.0, features.shape[1:]).astype(np.float32)
    found = solve(features, weight)
    assert np.asarray(found.converged).mean() >= (1.0 if name != "huge features" else 0.9)
    scale = CASES[name].get("scale", 1.0)
    np.testing.assert_allclose(np.sum(found.weights, axis=0), 1.0, atol=1e-6)
    assert (np.asarray(found.weights) > 0).all()
    for user in range(16):
        value = loss(features[..., user], weight[:, user], on_the_simplex(found.weights[:, user]))[
            0
        ]
        excess = value - slsqp(features[..., user], weight[:, user])
        # The gap is a bound on the excess; scipy itself stops 1e-9 short, and float32 margins round
        # by their size.
        assert excess <= float(found.gap[user]) + 1e-8 * max(1.0, scale)
        if bool(found.converged[user]):
            # A pair's pull is off by a quarter of the rounding of its margin, and multiplies
            # another margin.
            assert excess <= 2e-6 * max(1.0, 0.25 * scale**2)


@pytest.mark.parametrize("seed", range(3))
def test_against_every_face_of_the_simplex(seed):
    # On each face the problem without walls: some face's stationary point is the optimum.
    features = simulated(seed, rank=3, shots=10, users=16, scale=3.0)
    found = solve(features, jnp.ones((10, 16)))
    for user in range(16):
        one = features[..., user]
        best = np.inf
        for face in itertools.chain.from_iterable(
            itertools.combinations(range(3), n) for n in (1, 2, 3)
        ):
            of_face = one[list(face)].astype(np.float64)
            if len(face) == 1:
                best = min(best, loss(of_face, np.ones(10), [1.0])[0])
                continue
            reduced = scipy.optimize.minimize(
                lambda v, of_face=of_face: loss(of_face, np.ones(10), [*v, 1.0 - v.sum()])[0],
                np.full(len(face) - 1, 1.0 / len(face)),
                method="BFGS",
                options={"gtol": 1e-9},
            )
            w = np.array([*reduced.x, 1.0 - reduced.x.sum()])
            if (w >= 0).all():
                best = min(best, loss(of_face, np.ones(10), w)[0])
        value = loss(one, np.ones(10), on_the_simplex(found.weights[:, user]))[0]
        assert value == pytest.approx(best, abs=3e-6)


def test_an_optimum_at_a_corner_and_on_an_edge():
    # Column 0 always agrees with the user, column 2 never does.
    corner = jnp.array([[1.0] * 4, [0.2] * 4, [-1.0] * 4])
    found = solve(corner, jnp.ones(4))
    np.testing.assert_allclose(found.weights, [1.0, 0.0, 0.0], atol=1e-5)
    assert bool(found.converged)
    # Columns 0 and 1 agree on half of the pairs each; the loss of their mixture w, 1 - w is
    # symmetric.
    edge = jnp.array([[1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0], [-2.0] * 4])
    found = solve(edge, jnp.ones(4))
    np.testing.assert_allclose(found.weights, [0.5, 0.5, 0.0], atol=1e-5)


def test_rank_1_has_nothing_to_choose():
    found = solve(jnp.ones((1, 3, 2)), jnp.ones((3, 2)))
    np.testing.assert_array_equal(found.weights, 1.0)
    assert np.asarray(found.converged).all()
    assert (np.asarray(found.gap) == 0).all()


def test_columns_that_agree_leave_the_weights_in_the_middle():
    # Every point of the simplex is optimal; the start is.
    found = solve(jnp.ones((4, 6, 3)), jnp.ones((6, 3)))
    np.testing.assert_allclose(found.weights, 0.25, atol=1e-6)
    assert np.asarray(found.converged).all()


def test_what_columns_share_does_not_disturb_what_they_do_not():
    # A large number common to all columns moves the margins of all weights alike.
    features = simulated(2, rank=4, shots=10, users=16, scale=0.5)
    common = np.where(np.arange(10) % 2, 50.0, -50.0).astype(np.float32)[:, None]
    found = solve(features + common, jnp.ones((10, 16)))
    assert np.asarray(found.converged).all()
    for user in range(16):
        shifted = features[..., user] + common[:, 0]
        value = loss(shifted, np.ones(10), on_the_simplex(found.weights[:, user]))[0]
        assert value == pytest.approx(slsqp(shifted, np.ones(10)), abs=1e-5)


def test_one_user_is_the_same_alone_and_in_company():
    features = simulated(3, rank=5, shots=10, users=16, scale=4.0)
    together = solve(features, jnp.ones((10, 16)))
    for user in range(16):
        alone = solve(features[..., user], jnp.ones(10))
        value = [
            loss(features[..., user], np.ones(10), on_the_simplex(w))[0]
            for w in (alone.weights, together.weights[:, user])
        ]
        assert value[0] == pytest.approx(value[1], abs=5e-6)
    mapped = jax.vmap(simplex_estimate, in_axes=-1, out_axes=-1)(features, jnp.ones((10, 16)))
    np.testing.assert_allclose(mapped.weights, together.weights, atol=1e-3)


def test_padding_changes_nothing_and_weights_count():
    features = simulated(4, rank=5, shots=6, users=16)
    bare = solve(np.concatenate([features, features[:, :4]], axis=1), jnp.ones((10, 16)))
    weight = np.concatenate([np.full((4, 16), 2.0), np.ones((2, 16)), np.zeros((4, 16))]).astype(
        np.float32
    )
    rubbish = 1e3 * np.random.default_rng(0).standard_normal((5, 4, 16)).astype(np.float32)
    padded = solve(np.concatenate([features, rubbish], axis=1), weight)
    np.testing.assert_allclose(bare.weights, padded.weights, atol=1e-3)
    np.testing.assert_allclose(bare.gap, padded.gap, atol=2e-6)


def test_a_user_without_evidence_keeps_the_middle():
    features = simulated(5, rank=5, shots=10, users=16)
    found = solve(features, jnp.ones((10, 16)).at[:, 3].set(0.0))
    np.testing.assert_allclose(found.weights[:, 3], 0.2, atol=1e-6)
    assert bool(found.converged[3])
    assert int(found.steps[3]) == 0


def test_a_nan_stays_visible_and_stays_with_its_user():
    features = simulated(6, rank=5, shots=10, users=16)
    clean = solve(features, jnp.ones((10, 16)))
    features[1, 2, 7] = np.nan
    found = solve(features, jnp.ones((10, 16)))
    assert not bool(found.converged[7])
    assert np.isnan(found.gap[7])
    assert np.isnan(found.weights[:, 7]).all()
    others = np.delete(np.arange(16), 7)
    np.testing.assert_allclose(found.weights[:, others], clean.weights[:, others], atol=1e-5)


@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_features_of_thousands_of_logits_never_give_nan(scale):
    features = simulated(7, rank=5, shots=10, users=16, scale=scale)
    contradictory = features[:, :1] * np.sign(features[:1])
    for one in (features, contradictory):
        found = solve(one, jnp.ones((10, 16)))
        assert np.isfinite(found.weights).all()
        assert np.isfinite(found.gap).all()
        np.testing.assert_allclose(np.sum(found.weights, axis=0), 1.0, atol=1e-6)


def test_the_gradient_in_the_logits():
    features = simulated(8, rank=5, shots=10, users=16)
    found = solve(features, jnp.ones((10, 16)), max_steps=2)
    for user in range(3):
        w = on_the_simplex(found.weights[:, user])
        logits = np.log(w)

        def of_logits(a, user=user):
            return loss(features[..., user], np.ones(10), np.exp(a) / np.exp(a).sum())[0]

        differences = [
            (of_logits(logits + h) - of_logits(logits - h)) / 2e-5 for h in 1e-5 * np.eye(5)
        ]
        assert float(found.grad_norm[user]) == pytest.approx(np.linalg.norm(differences), rel=1e-3)
