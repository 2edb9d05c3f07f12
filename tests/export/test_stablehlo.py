"""Adapting and scoring as programs, run where the library is not."""

import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.export.stablehlo import export_adapt, export_margins, export_score
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS
from lore_jax.model.prior import GaussianPrior, SimplexPrior
from lore_jax.users.adapt import adapt
from lore_jax.users.predict import margins
from lore_jax.users.score import score

ELSEWHERE = """
import sys
import numpy as np
sys.modules["lore_jax"] = None  # importing it fails
import jax
given = np.load("given.npz")
names = ("adapt", "score")
programs = [jax.export.deserialize(bytearray(open(name, "rb").read())) for name in names]
pairs = [given[name] for name in ("table", "chosen", "rejected", "pair_weight")]
posterior = programs[0].call(*pairs)
scores = programs[1].call(given["table"], posterior["weights"])
np.savez("result.npz", scores=scores, **posterior)
"""


@pytest.mark.parametrize("prior", [GaussianPrior, SimplexPrior])
def test_programs_run_without_the_library(prior, tmp_path):
    rng = np.random.default_rng(0)
    dim, rank, users, shots = 5, 3, 7, 4
    mean = jnp.full(rank, 1.0 / rank)
    prior = prior(mean, jnp.eye(rank)) if prior is GaussianPrior else prior(mean)
    params = {"V": jnp.asarray(rng.standard_normal((dim, rank)), jnp.float32)}
    model = Model(LinearBasis(rank), params, jnp.float32(2.0), prior, 1.5)
    table = rng.standard_normal((11, dim)).astype(np.float32)
    chosen = rng.integers(11, size=(users, shots)).astype(np.int32)
    rejected = ((chosen + rng.integers(1, 11, size=(users, shots))) % 11).astype(np.int32)
    pair_weight = (np.arange(shots) < rng.integers(0, shots + 1, size=(users, 1))).astype(
        np.float32
    )
    np.savez(
        tmp_path / "given.npz",
        table=table,
        chosen=chosen,
        rejected=rejected,
        pair_weight=pair_weight,
    )
    export_adapt(tmp_path / "adapt", model, shots=shots)
    export_score(tmp_path / "score", model)
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, check=True, timeout=120)
    with np.load(tmp_path / "result.npz") as stored:
        result = dict(stored)
    user = np.repeat(np.arange(users), shots)
    prefs = from_arrays(
        table, chosen.ravel(), rejected.ravel(), user, pair_weight=pair_weight.ravel()
    )
    expected = adapt(model, prefs)
    for name in POSTERIOR_ARRAYS:
        if name not in ("steps", "grad_norm"):
            np.testing.assert_allclose(result[name], getattr(expected, name), atol=1e-4)
    np.testing.assert_allclose(result["scores"], score(model, expected, table), atol=1e-3)


def test_margins_of_new_responses_carry_what_is_not_known(tmp_path):
    data = synthetic(
        SyntheticConfig(num_users=12, dim=6, num_prompts=40, pairs_per_user=(10, 10)), seed=0
    )
    method = PopulationConfig(
        rank=3,
        ridge_population=1.0,
        ridge_deviation=1.0,
        item_effects=0.5,
        item_effects_deviation=1.0,
        num_components=0,
        logit_scale=1.0,
        steps=10,
    )
    model, users, _ = fit(data.prefs, FitConfig(method), key=jax.random.key(0))
    assert model.basis_posterior is not None
    rng = np.random.default_rng(1)
    table = rng.standard_normal((20, 6)).astype(np.float32)  # none of them is of the fit
    user = np.repeat(np.arange(12), 3)
    chosen = rng.integers(20, size=36)
    test = from_arrays(table, chosen, (chosen + 1 + rng.integers(18, size=36)) % 20, user)
    path = export_margins(tmp_path / "margins", model)
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    given = test.embeddings, test.chosen, test.rejected, test.user
    found = program.call(*given, users.weights, users.covariance)
    expected = margins(model, users, test)
    np.testing.assert_allclose(found["mean"], expected.mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["variance"], expected.variance, rtol=1e-3)


def test_a_program_that_is_there_stays(tmp_path):
    prior = SimplexPrior(jnp.ones(1))
    model = Model(LinearBasis(1), {"V": jnp.ones((2, 1))}, jnp.float32(1.0), prior)
    (tmp_path / "program").write_text("another file")
    with pytest.raises(FileExistsError, match="is there already"):
        export_score(tmp_path / "program", model)
    with pytest.raises(ValueError, match="shots is 0"):
        export_adapt(tmp_path / "other", model, shots=0)
    export_score(tmp_path / "program", model, overwrite=True)
    assert (tmp_path / "program").stat().st_size > 100
