import dataclasses
import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from lore_jax.data.preferences import from_arrays
from lore_jax.data.splits import draw_shots
from lore_jax.model.basis import LinearBasis, MLPBasis
from lore_jax.model.model import Model, apply_basis, bradley_terry_model, rewards
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import GaussianPrior, MixturePrior, SimplexPrior
from lore_jax.solvers.mixture import Mixture, one_component
from lore_jax.users.adapt import adapt, adapt_rewards, adapt_user

# The package exports the function under the name of its module.
adapt_module = importlib.import_module("lore_jax.users.adapt")

DIM, RANK, RESPONSES = 6, 3, 40
ONE = one_component(RANK)
FIELDS = ("weights", "covariance", "shots", "converged", "steps", "grad_norm")


def gaussian_model(seed=0, columns=RANK):
    rng = np.random.default_rng(seed)
    prior = GaussianPrior(
        jnp.asarray(rng.standard_normal(RANK), jnp.float32),
        jnp.asarray(rng.standard_normal((RANK, columns)), jnp.float32),
    )
    params = {"V": jnp.asarray(rng.standard_normal((DIM, RANK)), jnp.float32)}
    return Model(LinearBasis(RANK), params, jnp.asarray(2.0), prior)


def simplex_model(seed=0):
    return dataclasses.replace(gaussian_model(seed), prior=SimplexPrior(jnp.array([0.2, 0.3, 0.5])))


def mixture_model(seed=0):
    """Three components, so scaled that deviations have mean 0 and covariance I."""
    rng = np.random.default_rng(seed)
    share, centre = np.array([0.5, 0.3, 0.2]), rng.standard_normal((3, RANK))
    spread = np.tile(0.4 * np.eye(RANK), (3, 1, 1))
    centre -= share @ centre
    covariance = (share[:, None] * centre).T @ centre + 0.16 * np.eye(RANK)
    root = np.linalg.cholesky(covariance)
    centre, spread = np.linalg.solve(root, centre.T).T, np.linalg.solve(root, spread)
    mixture = Mixture(*(jnp.asarray(part, jnp.float32) for part in (np.log(share), centre, spread)))
    model = gaussian_model(seed)
    return dataclasses.replace(
        model, prior=MixturePrior(model.prior.mean, model.prior.factor, mixture)
    )


def preferences(counts, seed=0, responses=RESPONSES):
    """Users with the given numbers of pairs."""
    rng = np.random.default_rng(seed)
    pairs = int(np.sum(counts))
    chosen = rng.integers(responses, size=pairs)
    return from_arrays(
        rng.standard_normal((responses, DIM)).astype(np.float32),
        chosen,
        (chosen + rng.integers(1, responses, size=pairs)) % responses,
        np.repeat(np.arange(len(counts)), counts),
        pair_weight=rng.uniform(0.5, 2.0, pairs),
        num_users=len(counts),
        user_ids=[f"user {i}" for i in range(len(counts))],
    )


RAGGED = [3, 0, 1, 4, 40, 1, 0, 33, 1, 4, 0]  # buckets of 1, 4 and 64


@pytest.fixture
def by_xla(monkeypatch):
    """As where the compiled solvers were not built."""
    monkeypatch.setattr(adapt_module, "native_solver", lambda *_: None)


def features_of(model, prefs):
    table = np.asarray(rewards(model, prefs.embeddings).table)
    return table[prefs.chosen] - table[prefs.rejected]


def test_against_scipy_in_the_weights_themselves():
    model, prefs = gaussian_model(), preferences(RAGGED)
    posterior = adapt(model, prefs)
    features = features_of(model, prefs).astype(np.float64)
    mean, precision = (
        np.asarray(model.prior.mean, np.float64),
        np.linalg.inv(np.asarray(model.prior.covariance, np.float64)),
    )
    assert posterior.converged.all()
    for user in range(prefs.num_users):
        own = prefs.user == user
        f, c = features[own], prefs.pair_weight[own].astype(np.float64)

        def value(w, f=f, c=c):
            return np.sum(c * np.logaddexp(0.0, -f @ w)) + (w - mean) @ precision @ (w - mean) / 2

        mode = scipy.optimize.minimize(value, mean, method="BFGS", options={"gtol": 1e-8}).x
        s = 1.0 / (1.0 + np.exp(-f @ mode))
        covariance = np.linalg.inv(precision + (f * (c * s * (1 - s))[:, None]).T @ f)
        deviation = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose((posterior.weights[user] - mode) / deviation, 0.0, atol=2e-3)
        np.testing.assert_allclose(
            (posterior.covariance[user] - covariance) / np.outer(deviation, deviation), 0, atol=5e-3
        )


@pytest.mark.parametrize(
    "model",
    [gaussian_model(), gaussian_model(columns=2), mixture_model(), simplex_model()],
    ids=["full", "thin", "mixture", "simplex"],
)
def test_bucketed_equals_one_at_a_time(model, monkeypatch):
    monkeypatch.setattr(
        adapt_module, "_PAIRS_PER_CHUNK", {"cpu": 32}
    )  # several chunks, the last one not full
    prefs = preferences(RAGGED * 4)
    posterior = adapt(model, prefs)
    features = features_of(model, prefs)
    one_user = jax.jit(adapt_user)
    for user in range(len(RAGGED)):
        own = prefs.user == user
        padding = 40 - int(own.sum())  # one program for everybody here
        alone = one_user(
            model,
            np.pad(features[own], ((0, padding), (0, 0))),
            np.pad(prefs.pair_weight[own], (0, padding)),
        )
        np.testing.assert_allclose(posterior.weights[user], alone.weights, atol=1e-4)
        np.testing.assert_allclose(posterior.covariance[user], alone.covariance, atol=1e-4)
        assert posterior.shots[user] == alone.shots == own.sum()
        assert posterior.converged[user]
        assert bool(alone.converged)


def test_without_shots_everybody_is_the_population():
    for model in (gaussian_model(), mixture_model(), simplex_model()):
        posterior = adapt(model, preferences([0] * 5))
        expected = population_posterior(model, 5, np.array([f"user {i}" for i in range(5)]))
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(posterior, name), getattr(expected, name))
        np.testing.assert_allclose(posterior.weights, np.tile(model.prior.mean, (5, 1)))
        np.testing.assert_allclose(posterior.covariance[2], model.prior.covariance, atol=1e-6)
        assert posterior.user_ids.tolist() == expected.user_ids.tolist()


def test_users_without_pairs_among_others():
    model, prefs = gaussian_model(), preferences(RAGGED)
    posterior = adapt(model, prefs)
    silent = np.array(RAGGED) == 0
    np.testing.assert_array_equal(posterior.shots, RAGGED)
    np.testing.assert_array_equal(
        posterior.weights[silent], np.tile(model.prior.mean, (silent.sum(), 1))
    )
    assert (posterior.steps[~silent] > 0).all()
    assert (
        np.trace(posterior.covariance, axis1=1, axis2=2)[~silent] < np.trace(model.prior.covariance)
    ).all()


def test_pairs_of_weight_0_are_no_shots():
    model, prefs = gaussian_model(), preferences([4, 4])
    half = dataclasses.replace(
        prefs, pair_weight=np.where(np.arange(8) % 4 < 2, prefs.pair_weight, 0.0).astype(np.float32)
    )
    found = adapt(model, half)
    assert found.shots.tolist() == [2, 2]
    expected = adapt(model, prefs.take_pairs(half.pair_weight > 0))
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-5)
    nothing = adapt(model, dataclasses.replace(prefs, pair_weight=np.zeros(8, np.float32)))
    np.testing.assert_allclose(nothing.weights, np.tile(model.prior.mean, (2, 1)), atol=1e-6)


def test_shots_can_be_added():
    model, prefs = gaussian_model(), preferences([40] * 12)
    few = draw_shots(prefs, 20, seed=0)
    at_once = adapt(model, prefs)
    added = adapt(model, prefs, start=adapt(model, few))
    np.testing.assert_allclose(added.weights, at_once.weights, atol=2e-3)
    np.testing.assert_allclose(added.covariance, at_once.covariance, atol=2e-3)
    assert added.converged.all()
    assert added.steps.mean() < at_once.steps.mean()
    again = adapt(model, prefs, start=at_once)
    assert again.steps.max() == 0


def test_a_mixture_started_anywhere_arrives_where_it_does_from_nothing():
    model, prefs = mixture_model(), preferences(RAGGED)
    from_nothing = adapt(model, prefs)
    rng = np.random.default_rng(1)
    far = from_nothing.weights + 3.0 * rng.standard_normal(from_nothing.weights.shape)
    started = adapt(model, prefs, start=from_nothing.replace(weights=far.astype(np.float32)))
    assert started.converged.all()
    np.testing.assert_allclose(started.weights, from_nothing.weights, atol=2e-3)
    np.testing.assert_allclose(started.covariance, from_nothing.covariance, atol=2e-3)
    # The start is not only taken but used: from the modes of one Gaussian nothing is left to do.
    single = dataclasses.replace(model, prior=dataclasses.replace(model.prior, mixture=ONE))
    assert adapt(single, prefs, start=adapt(single, prefs)).steps.max() == 0


def test_a_simplex_prior_refuses_a_start():
    model, prefs = simplex_model(), preferences([3, 2])
    posterior = adapt(model, prefs)
    match = "start is given, but a SimplexPrior has no use for it: None is expected"
    with pytest.raises(ValueError, match=match) as refusal:
        adapt(model, prefs, start=posterior)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="start must be None"):
        adapt_user(model, jnp.ones((2, RANK)), jnp.ones(2), model.prior.mean)


def test_users_can_be_added_behind_those_adapted():
    model = gaussian_model()
    prefs = preferences([5, 6, 7, 0, 9])
    earlier = adapt(model, prefs.take_users(np.arange(3)))
    np.testing.assert_allclose(
        adapt(model, prefs, start=earlier).weights, adapt(model, prefs).weights, atol=2e-3
    )
    with pytest.raises(ValueError, match="start has 5 users, the preferences have 3"):
        adapt(model, prefs.take_users(np.arange(3)), start=adapt(model, prefs))


def test_a_model_without_spread_has_nothing_to_learn_from_users():
    model = bradley_terry_model(LinearBasis(1), {"V": jnp.ones((DIM, 1))}, 1.0)
    prefs = preferences([3, 0, 5])
    posterior = adapt(model, prefs)
    np.testing.assert_array_equal(posterior.weights, 1.0)
    np.testing.assert_array_equal(posterior.covariance, 0.0)
    assert posterior.converged.all()
    np.testing.assert_array_equal(adapt(model, prefs, start=posterior).weights, 1.0)


def test_rewards_given_are_as_good_as_embeddings():
    model, prefs = gaussian_model(), preferences(RAGGED)
    table = rewards(model, prefs.embeddings).table
    np.testing.assert_array_equal(
        adapt_rewards(model, table, prefs).weights, adapt(model, prefs).weights
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_any_basis_and_any_float_type(dtype):
    basis = MLPBasis(RANK, hidden=(8,))
    params = basis.init(jax.random.key(0), jnp.ones((1, DIM)), 1.0)["params"]
    model = dataclasses.replace(gaussian_model(), basis=basis, params=params)
    prefs = preferences([5, 9])
    prefs = dataclasses.replace(prefs, embeddings=prefs.embeddings.astype(dtype))
    assert adapt(model, prefs).converged.all()


def test_few_users_share_a_program(by_xla):
    lengths = []
    solve = adapt_module._adapt_chunk

    def seen(prior, likelihood, along, weight, start):
        lengths.append(weight.shape)
        return solve(prior, likelihood, along, weight, start)

    prefs, model = preferences([10, 9, 40, 3, 0]), gaussian_model()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt_module, "_adapt_chunk", seen)
        together = adapt(model, prefs)
        assert lengths == [(40, 64)]
        patch.setattr(adapt_module, "_FEW_PAIRS", 0)
        apart = adapt(model, prefs)
    assert sorted(length for length, _ in lengths[1:]) == [3, 10, 40]
    np.testing.assert_allclose(together.weights, apart.weights, atol=1e-4)
    np.testing.assert_allclose(together.covariance, apart.covariance, atol=1e-4)


def test_as_many_compilations_as_lengths_of_buckets(monkeypatch, by_xla):
    monkeypatch.setattr(adapt_module, "_FEW_PAIRS", 0)

    def of(counts, seed=0):
        return preferences(counts, seed, responses=RESPONSES + seed)  # the table may be of any size

    model = gaussian_model(seed=5, columns=5)  # a shape that no other test has compiled
    programs = adapt_module._adapt_chunk._cache_size
    before = programs()
    adapt(model, of([1, 2, 60]))  # lengths 1, 2, 64
    assert programs() == before + 3
    rng = np.random.default_rng(0)
    for users in (3, 50, 120):
        adapt(model, of([57, *rng.choice([0, 1, 2, 33, 64], users)], seed=users))
    adapt(gaussian_model(seed=6, columns=5), of([1, 57]))
    assert programs() == before + 3
    adapt(model, of([3]))
    assert programs() == before + 4
    adapt(
        model, of(np.ones(20_000, int))
    )  # many users come in larger chunks: one program more, whatever their number
    adapt(model, of(np.ones(40_000, int)))
    assert programs() == before + 5


def test_a_bucket_is_padded_to_its_longest_user(monkeypatch, by_xla):
    monkeypatch.setattr(adapt_module, "_FEW_PAIRS", 0)
    lengths = []
    solve = adapt_module._adapt_chunk

    def seen(prior, likelihood, along, weight, start):
        lengths.append(weight.shape[0])
        return solve(prior, likelihood, along, weight, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapt_module, "_adapt_chunk", seen)
        adapt(gaussian_model(), preferences([10, 9, 40, 3, 0]))
    assert sorted(lengths) == [3, 10, 40]  # not 4, 16 and 64
    padded = [adapt_module.padded_length(shots) for shots in range(1, 2000)]
    assert all(shots <= length <= 1.25 * shots for shots, length in enumerate(padded, 1))
    assert len(set(padded)) == 40  # four a factor of two


def test_chunks_fit_the_backend():
    size = adapt_module._chunk_size
    assert [size(10, users, "cpu") for users in (5, 65, 500, 10**7)] == [64, 128, 512, 1638]
    assert [size(10, users, "gpu") for users in (5, 5_000, 10**7)] == [64, 8192, 419430]
    assert size(10**6, 3, "cpu") == 1


def test_no_array_of_pairs_and_dim_exists():
    dim, responses, users, shots = (
        97,
        83,
        29,
        7,
    )  # numbers that name their axis in the compiled program
    model = dataclasses.replace(gaussian_model(), params={"V": jnp.ones((dim, RANK))})

    def whole(embeddings, chosen, rejected, weight):
        table = apply_basis(model, embeddings)
        return adapt_user(model, jnp.moveaxis(table[chosen] - table[rejected], -1, 1), weight)

    index = jnp.zeros((shots, users), jnp.int32)
    compiled = (
        jax.jit(whole)
        .lower(jnp.ones((responses, dim)), index, index, jnp.ones((shots, users)))
        .compile()
    )
    shapes = {
        tuple(map(int, shape.split(",")))
        for shape in re.findall(r"f32\[([\d,]+)\]", compiled.as_text())
    }
    padded = RANK + -RANK % 4
    of_dim = {tuple(sorted(set(shape) - {1, RANK, padded})) for shape in shapes if dim in shape}
    assert of_dim <= {(dim,), (responses, dim)}


def test_a_user_with_a_nan_does_not_harm_the_others():
    model, prefs = gaussian_model(), preferences([5, 5, 5])
    table = np.array(rewards(model, prefs.embeddings).table)
    alone = np.setdiff1d(
        np.concatenate([prefs.chosen[prefs.user == 1], prefs.rejected[prefs.user == 1]]),
        np.concatenate([prefs.chosen[prefs.user != 1], prefs.rejected[prefs.user != 1]]),
    )
    table[alone[0]] = np.nan
    posterior = adapt_rewards(model, jnp.asarray(table), prefs)
    assert posterior.converged.tolist() == [True, False, True]
    assert np.isnan(posterior.weights[1]).any()
    np.testing.assert_allclose(
        posterior.weights[[0, 2]], adapt(model, prefs).weights[[0, 2]], atol=1e-6
    )


def test_another_width_is_refused():
    prefs = preferences([3])
    prefs = dataclasses.replace(prefs, embeddings=prefs.embeddings[:, :5])
    with pytest.raises(ValueError, match="embeddings have dim 5, the model was fitted on dim 6"):
        adapt(gaussian_model(), prefs)
