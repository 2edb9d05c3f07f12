import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from lore_jax.solvers.newton import map_estimate

solve = jax.jit(
    map_estimate
)  # tests share shapes where they can: compiling takes longer than solving


def simulated(seed, k, shots, users, scale=1.0, flipped=0.2):
    """Features `[k, shots, users]` of users who choose by a weight of their own, now and then
    against it.
    """
    rng = np.random.default_rng(seed)
    features = scale * rng.standard_normal((k, shots, users))
    margin = np.einsum("ksu,ku->su", features, rng.standard_normal((k, users)))
    sign = np.where(rng.random((shots, users)) < flipped, -1.0, 1.0) * np.sign(margin)
    return (features * sign).astype(np.float32), rng.normal(size=(shots, users)).astype(np.float32)


def objective(features, offset, weight):
    """Negative log posterior of one user, its gradient and Hessian, in float64."""

    def of(d):
        margin = offset + d @ features
        lost = expit(-margin)
        value = np.sum(weight * np.logaddexp(0.0, -margin)) + d @ d / 2
        return (
            value,
            d - features @ (weight * lost),
            np.eye(len(d)) + (features * (weight * lost * (1 - lost))) @ features.T,
        )

    return of


def scipy_mode(features, offset, weight):
    of = objective(*(np.asarray(x, np.float64) for x in (features, offset, weight)))
    found = scipy.optimize.minimize(
        lambda d: of(d)[0],
        np.zeros(len(features)),
        jac=lambda d: of(d)[1],
        hess=lambda d: of(d)[2],
        method="trust-exact",
        options={"gtol": 1e-9},
    )
    return found.x, of(found.x)[2]


def distance(found, mode, hessian):
    """In posterior standard deviations."""
    error = np.asarray(found, np.float64) - mode
    return np.sqrt(error @ hessian @ error)


# Scale is the size of a feature in logits for a deviation of one: at 1 margins are ordinary, at 100
# absurd.
CASES = {
    "one column": {"k": 1, "shots": 5},
    "one shot": {"k": 3, "shots": 1},
    "many shots": {"k": 4, "shots": 200},
    "rolled factor": {"k": 12, "shots": 20},
    "nobody errs": {"k": 4, "shots": 20, "flipped": 0.0},
    "tiny features": {"k": 4, "shots": 20, "scale": 1e-3},
    "large features": {"k": 4, "shots": 20, "scale": 10.0},
    "huge features": {"k": 4, "shots": 20, "scale": 100.0},
    "huge features, nobody errs": {"k": 4, "shots": 20, "scale": 100.0, "flipped": 0.0},
}


@pytest.mark.parametrize("name", CASES)
def test_against_scipy(name):
    features, offset = simulated(0, users=12, **CASES[name])
    weight = np.random.default_rng(1).uniform(0.2, 3.0, offset.shape).astype(np.float32)
    found = solve(features, offset, weight, jnp.zeros((len(features), 12)))
    assert np.asarray(found.converged).all()
    for user in range(12):
        mode, hessian = scipy_mode(features[..., user], offset[:, user], weight[:, user])
        # The tolerance of the stopping rule: a thousandth of a posterior standard deviation.
        assert distance(found.deviation[:, user], mode, hessian) < 1e-3
        # float32 sums of up to 200 numbers, at features of hundreds.
        covariance = np.linalg.inv(hessian)
        scale = np.sqrt(np.diag(covariance))
        error = (np.asarray(found.covariance[..., user]) - covariance) / np.outer(scale, scale)
        np.testing.assert_allclose(error, 0.0, atol=5e-3)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_against_scikit_learn(scale):
    features, _ = simulated(2, k=4, shots=20, users=12, scale=scale)
    weight = np.random.default_rng(3).uniform(0.5, 2.0, (20, 12)).astype(np.float32)
    found = solve(features, jnp.zeros((20, 12)), weight, jnp.zeros((4, 12)))
    # A pair won by f is a pair lost by -f; scikit-learn wants both kinds. C = 1 is a unit prior.
    label = np.arange(20) % 2
    for user in range(12):
        rows = features[..., user].T * np.where(label, 1.0, -1.0)[:, None]
        regression = LogisticRegression(
            C=1.0, fit_intercept=False, solver="newton-cholesky", tol=1e-10
        )
        regression.fit(rows, label, sample_weight=weight[:, user])
        np.testing.assert_allclose(found.deviation[:, user], regression.coef_[0], atol=1e-3)


def test_the_gradient_reported_is_that_of_the_objective():
    features, offset = simulated(4, k=4, shots=20, users=12)
    found = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)), max_steps=1)
    of = objective(features[..., 0].astype(float), offset[:, 0].astype(float), np.ones(20))
    d = np.asarray(found.deviation[:, 0], np.float64)
    assert float(found.grad_norm[0]) == pytest.approx(np.linalg.norm(of(d)[1]), rel=1e-4)
    step = 1e-6 * np.eye(4)
    differences = [(of(d + h)[0] - of(d - h)[0]) / 2e-6 for h in step]
    np.testing.assert_allclose(of(d)[1], differences, atol=1e-6)


def test_one_user_is_the_same_alone_and_in_company():
    features, offset = simulated(5, k=4, shots=20, users=12, scale=3.0)
    weight = jnp.ones(offset.shape)
    together = solve(features, offset, weight, jnp.zeros((4, 12)))
    for user in range(12):
        alone = solve(features[..., user], offset[:, user], weight[:, user], jnp.zeros(4))
        np.testing.assert_allclose(together.deviation[:, user], alone.deviation, atol=2e-5)
        np.testing.assert_allclose(together.covariance[..., user], alone.covariance, atol=2e-5)
        assert int(together.steps[user]) == int(alone.steps)
    mapped = jax.vmap(map_estimate, in_axes=-1, out_axes=-1)(
        features, offset, weight, jnp.zeros((4, 12))
    )
    np.testing.assert_allclose(together.deviation, mapped.deviation, atol=2e-5)


def test_padding_changes_nothing():
    features, offset = simulated(6, k=4, shots=14, users=12)
    weight = jnp.ones(offset.shape)
    bare = solve(features, offset, weight, jnp.zeros((4, 12)))
    rng = np.random.default_rng(0)
    padded = solve(
        np.concatenate(
            [features, 1e3 * rng.standard_normal((4, 6, 12)).astype(np.float32)], axis=1
        ),
        np.concatenate([offset, 1e3 * rng.standard_normal((6, 12)).astype(np.float32)]),
        np.pad(weight, ((0, 6), (0, 0))),
        jnp.zeros((4, 12)),
    )
    np.testing.assert_allclose(bare.deviation, padded.deviation, atol=1e-6)
    np.testing.assert_allclose(bare.covariance, padded.covariance, atol=1e-6)
    np.testing.assert_array_equal(bare.steps, padded.steps)


def test_a_weight_of_two_is_a_pair_twice():
    features, offset = simulated(7, k=4, shots=10, users=12)
    twice = solve(
        np.tile(features, (1, 2, 1)),
        np.tile(offset, (2, 1)),
        jnp.ones((20, 12)),
        jnp.zeros((4, 12)),
    )
    heavy = solve(features, offset, jnp.full((10, 12), 2.0), jnp.zeros((4, 12)))
    np.testing.assert_allclose(twice.deviation, heavy.deviation, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_one_pair_many_times(scale):
    # The Hessian is I plus one direction repeated: worse conditioned than anything users do.
    features, offset = simulated(8, k=4, shots=1, users=12, scale=scale)
    features, offset = np.repeat(features, 20, axis=1), np.repeat(offset, 20, axis=0)
    found = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)))
    assert np.asarray(found.converged).all()
    # By symmetry the mode lies along the feature: a problem of one unknown.
    for user in range(12):
        f = features[:, 0, user].astype(np.float64)
        o = float(offset[0, user])
        along = scipy.optimize.brentq(
            lambda a, f=f, o=o: a - 20 * expit(-(o + a * (f @ f))), 0.0, 20.0, xtol=1e-14
        )
        s = expit(o + along * (f @ f))
        hessian = np.eye(4) + 20 * s * (1 - s) * np.outer(f, f)
        assert distance(found.deviation[:, user], along * f, hessian) < 2e-3


@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_features_of_thousands_of_logits_never_give_nan(scale):
    for flipped in (0.0, 0.2):
        features, offset = simulated(9, k=4, shots=20, users=12, scale=scale, flipped=flipped)
        found = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)))
        assert np.isfinite(found.deviation).all()
        assert np.asarray(found.converged).mean() > 0.9
    contradictory = features[:, :1] * np.sign(features[:1])  # one pair, answered now so and now so
    found = solve(contradictory, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)))
    assert np.isfinite(found.deviation).all()
    assert np.isfinite(found.covariance).all()


def test_starting_at_the_mode_takes_no_step_and_anywhere_else_arrives_there():
    features, offset = simulated(10, k=4, shots=20, users=12, scale=2.0)
    weight = jnp.ones(offset.shape)
    found = solve(features, offset, weight, jnp.zeros((4, 12)))
    again = solve(features, offset, weight, found.deviation)
    assert np.asarray(again.steps).max() == 0
    np.testing.assert_allclose(again.deviation, found.deviation, atol=1e-3)
    start = 3.0 * jax.random.normal(jax.random.key(0), (4, 12))
    far = solve(features, offset, weight, start)
    assert np.asarray(far.converged).all()
    np.testing.assert_allclose(far.deviation, found.deviation, atol=1e-3)


def test_every_step_descends():
    features, offset = simulated(11, k=4, shots=20, users=12, scale=30.0)
    values = []
    for steps in range(12):
        if steps:
            found = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)), max_steps=steps)
            d = np.asarray(found.deviation, np.float64)
        else:
            d = np.zeros((4, 12))
        of = [
            objective(features[..., u].astype(float), offset[:, u].astype(float), np.ones(20))
            for u in range(12)
        ]
        values.append([of[u](d[:, u])[0] for u in range(12)])
    assert (
        np.diff(values, axis=0) < 1e-3
    ).all()  # nats; margins of a hundred logits round by a hundred-thousandth


def test_a_user_without_evidence_is_the_population():
    features, offset = simulated(12, k=4, shots=20, users=12)
    weight = jnp.ones((20, 12)).at[:, 1].set(0.0)
    found = solve(features, offset, weight, jnp.full((4, 12), 2.0))
    np.testing.assert_array_equal(found.deviation[:, 1], 0.0)
    np.testing.assert_array_equal(found.covariance[..., 1], np.eye(4))
    assert bool(found.converged[1])
    assert int(found.steps[1]) == 0
    assert float(found.grad_norm[1]) == 0.0


def test_no_columns():
    found = solve(jnp.zeros((0, 4, 3)), jnp.zeros((4, 3)), jnp.ones((4, 3)), jnp.zeros((0, 3)))
    assert found.deviation.shape == (0, 3)
    assert np.asarray(found.converged).all()


@pytest.mark.parametrize("where", ["features", "offset"])
def test_a_nan_stays_visible_and_stays_with_its_user(where):
    features, offset = simulated(13, k=4, shots=20, users=12)
    clean = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)))
    if where == "features":
        features[1, 2, 2] = np.nan
    else:
        offset[3, 2] = np.nan
    found = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)))
    assert np.isnan(found.deviation[:, 2]).any()
    assert not bool(found.converged[2])
    others = np.delete(np.arange(12), 2)
    np.testing.assert_allclose(found.deviation[:, others], clean.deviation[:, others], atol=1e-6)
    assert np.asarray(found.converged)[others].all()


def test_running_out_of_steps_is_told():
    features, offset = simulated(14, k=4, shots=20, users=12, scale=10.0)
    found = solve(features, offset, jnp.ones((20, 12)), jnp.zeros((4, 12)), max_steps=1)
    assert not np.asarray(found.converged).any()
    assert (np.asarray(found.steps) == 1).all()
