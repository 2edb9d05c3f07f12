import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, bradley_terry_model
from lore_jax.model.prior import GaussianPrior, MixturePrior, SimplexPrior
from lore_jax.solvers.mixture import one_component
from lore_jax.solvers.native import library
from lore_jax.solvers.ordinal import cumulative_logit
from lore_jax.users import native_adapt

# The package exports the function under the name of its module.
adapt_module = importlib.import_module("lore_jax.users.adapt")
needs_library = pytest.mark.skipif(library.load() is None, reason="built without a C++ compiler")
DIM, RANK, RESPONSES = 6, 4, 60
RNG = np.random.default_rng(0)
GAUSSIAN = GaussianPrior(
    jnp.asarray(RNG.standard_normal(RANK), jnp.float32),
    jnp.asarray(RNG.standard_normal((RANK, RANK - 1)), jnp.float32),
)
SIMPLEX = SimplexPrior(jnp.array([0.1, 0.2, 0.3, 0.4]))


def model_of(prior):
    params = {"V": jnp.asarray(RNG.standard_normal((DIM, RANK)), jnp.float32)}
    return Model(LinearBasis(RANK), params, jnp.asarray(2.0), prior)


def preferences(users=300):
    counts = RNG.integers(0, 40, users)
    pairs = int(counts.sum())
    chosen = RNG.integers(RESPONSES, size=pairs)
    return from_arrays(
        RNG.standard_normal((RESPONSES, DIM)).astype(np.float32),
        chosen,
        (chosen + RNG.integers(1, RESPONSES, size=pairs)) % RESPONSES,
        np.repeat(np.arange(users), counts),
        pair_weight=RNG.choice([0.0, 0.5, 1.0, 3.0], pairs),
        num_users=users,
    )


@needs_library
@pytest.mark.parametrize("prior", [GAUSSIAN, SIMPLEX], ids=["gaussian", "simplex"])
def test_adapting_is_the_same_as_by_xla(prior, monkeypatch):
    model, prefs = model_of(prior), preferences()
    native = adapt_module.adapt(model, prefs)
    monkeypatch.setattr(adapt_module, "native_solver", lambda *_: None)
    by_xla = adapt_module.adapt(model, prefs)
    for name in ("shots", "converged"):
        np.testing.assert_array_equal(getattr(native, name), getattr(by_xla, name))
    np.testing.assert_allclose(native.covariance, by_xla.covariance, atol=1e-4)
    # The simplex stops within a millionth of a nat, which weights of weak evidence hardly move.
    np.testing.assert_allclose(
        native.weights, by_xla.weights, atol=1e-4 if prior is GAUSSIAN else 5e-3
    )


@needs_library
def test_small_calls_say_the_same(monkeypatch):
    model, prefs = model_of(GAUSSIAN), preferences()
    together = adapt_module.adapt(model, prefs)
    monkeypatch.setattr(adapt_module, "_USERS_PER_CALL", 5)
    apart = adapt_module.adapt(model, prefs)
    np.testing.assert_array_equal(together.weights, apart.weights)
    np.testing.assert_array_equal(together.covariance, apart.covariance)


@needs_library
@pytest.mark.parametrize("row", [-1, 10 * RESPONSES])  # beyond what fills the table up
def test_a_row_that_is_not_there(row):
    model, prefs = model_of(GAUSSIAN), preferences()
    wrong = prefs.rejected.copy()
    wrong[3] = row
    with pytest.raises(ValueError, match="responses whose rewards are given"):
        adapt_module.adapt(model, dataclasses.replace(prefs, rejected=wrong))


def solver(model, prefs):
    table = jax.jit(lambda: jnp.ones((RESPONSES, RANK)))()
    return native_adapt.native_solver(model, table, prefs, adapt_module._unfilled(model, 300, None))


def test_what_xla_has_to_solve(monkeypatch):
    prefs = preferences()
    nobody_differs = bradley_terry_model(LinearBasis(1), {"V": jnp.ones((DIM, 1))}, 1.0)
    mixture = MixturePrior(GAUSSIAN.mean, GAUSSIAN.factor, one_component(RANK - 1))
    assert solver(model_of(mixture), prefs) is None

    class Otherwise(SimplexPrior):
        """Solved by steps of its own, as `InnerSteps` is."""

    assert solver(model_of(Otherwise(SIMPLEX.mean)), prefs) is None
    assert solver(nobody_differs, prefs) is None  # there is nothing to solve
    levels = cumulative_logit(jnp.array(1), jnp.array([-1.0, 1.0]))
    ordinal = dataclasses.replace(model_of(GAUSSIAN), likelihood=levels)
    assert solver(ordinal, prefs) is None
    assert (solver(model_of(GAUSSIAN), prefs) is None) == (library.load() is None)
    monkeypatch.setattr(native_adapt, "load", lambda: None)
    assert solver(model_of(GAUSSIAN), prefs) is None
