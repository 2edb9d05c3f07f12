"""Users as a Parquet table, read back by pandas; programs, run where the library is not."""

import hashlib
import hmac
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from lore_jax.data.preferences import from_arrays
from lore_jax.export.parquet import export_weights, hash_user_ids
from lore_jax.export.stablehlo import export_adapt, export_score
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.posterior import POSTERIOR_ARRAYS, Posterior
from lore_jax.model.prior import Population
from lore_jax.users.adapt import adapt
from lore_jax.users.score import score


def make_users(user_ids=("ann", "böb", "eve")):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 4, 4)).astype(np.float32)
    return Posterior(
        weights=rng.normal(size=(3, 4)).astype(np.float32),
        covariance=root @ root.transpose(0, 2, 1),
        shots=np.array([0, 9, 600], np.int32),
        converged=np.array([True, False, True]),
        steps=np.zeros(3, np.int32),
        grad_norm=np.zeros(3, np.float32),
        user_ids=None if user_ids is None else np.array(user_ids),
    )


def test_pandas_reads_what_was_exported(tmp_path):
    users = make_users()
    frame = pd.read_parquet(export_weights(tmp_path / "users.parquet", users))
    assert frame.columns.tolist() == ["user_id", "weights", "variance", "shots", "converged"]
    assert frame["user_id"].tolist() == ["ann", "böb", "eve"]
    np.testing.assert_array_equal(np.stack(frame["weights"]), users.weights)
    np.testing.assert_array_equal(
        np.stack(frame["variance"]), np.einsum("urr->ur", users.covariance)
    )
    assert frame["shots"].tolist() == [0, 9, 600]
    assert frame["converged"].tolist() == [True, False, True]
    assert [entry.name for entry in tmp_path.iterdir()] == ["users.parquet"]


def test_users_without_names_are_numbered(tmp_path):
    frame = pd.read_parquet(export_weights(tmp_path / "users.parquet", make_users(None)))
    assert frame["user_id"].tolist() == ["0", "1", "2"]


def test_hashed_names_cannot_be_read_back_and_stay_distinct(tmp_path):
    file = export_weights(
        tmp_path / "users.parquet", make_users(), hash_ids=True, hash_key=b"secret"
    )
    hashed = pd.read_parquet(file)["user_id"].tolist()
    assert hashed == [
        hmac.new(b"secret", name.encode(), hashlib.sha256).hexdigest()
        for name in ("ann", "böb", "eve")
    ]
    assert all(name not in file.read_bytes() for name in (b"ann", "böb".encode(), b"eve"))
    assert len(set(hashed) | set(hash_user_ids(["ann", "böb", "eve"]).tolist())) == 6


def test_a_file_that_is_there_stays(tmp_path):
    file = tmp_path / "users.parquet"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        export_weights(file, make_users())
    assert file.read_text() == "mine"
    export_weights(file, make_users(), overwrite=True)
    assert len(pd.read_parquet(file)) == 3
    with pytest.raises(OSError, match=r"missing/users.parquet"):
        export_weights(tmp_path / "missing" / "users.parquet", make_users())


def test_parts_are_written_one_after_the_other(tmp_path):
    users, asked = make_users(), []

    def parts():
        for part in ([0, 1], [2]):
            asked.append(part)
            yield users.take(np.array(part))

    file = export_weights(tmp_path / "users.parquet", parts())
    expected = pd.read_parquet(export_weights(tmp_path / "whole.parquet", users))
    pd.testing.assert_frame_equal(pd.read_parquet(file), expected)
    assert pyarrow.parquet.ParquetFile(file).num_row_groups == len(asked) == 2
    nameless = [
        part.take(np.arange(part.num_users)) for part in (make_users(None), make_users(None))
    ]
    frame = pd.read_parquet(export_weights(tmp_path / "numbers.parquet", iter(nameless)))
    assert frame["user_id"].tolist() == list("012345")
    with pytest.raises(ValueError, match="no parts of users"):
        export_weights(tmp_path / "none.parquet", [])


def test_a_part_that_fails_leaves_nothing_behind(tmp_path):
    def parts():
        yield make_users()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        export_weights(tmp_path / "users.parquet", parts())
    assert not list(tmp_path.iterdir())


ELSEWHERE = """
import sys
import numpy as np
sys.modules["lore_jax"] = None  # importing it fails
import jax
given = np.load("given.npz")
programs = [jax.export.deserialize(bytearray(open(name, "rb").read())) for name in ("adapt", "score")]
found = programs[0].call(given["table"], given["chosen"], given["rejected"], given["weight"])
scores = programs[1].call(given["table"], found["weights"])
np.savez("found.npz", scores=scores, **found)
"""


@pytest.mark.parametrize("family", ["gaussian", "simplex"])
def test_programs_run_without_the_library(family, tmp_path):
    rng = np.random.default_rng(0)
    dim, rank, users, shots = 5, 3, 7, 4
    prior = Population(
        jnp.full(rank, 1.0 / rank), jnp.eye(rank) if family == "gaussian" else jnp.zeros((rank, 0))
    )
    params = {"V": jnp.asarray(rng.standard_normal((dim, rank)), jnp.float32)}
    model = Model(LinearBasis(rank), params, jnp.float32(2.0), prior, family, 1.5)
    table = rng.standard_normal((11, dim)).astype(np.float32)
    chosen = rng.integers(11, size=(users, shots)).astype(np.int32)
    rejected = ((chosen + rng.integers(1, 11, size=(users, shots))) % 11).astype(np.int32)
    weight = (np.arange(shots) < rng.integers(0, shots + 1, size=(users, 1))).astype(np.float32)
    np.savez(
        tmp_path / "given.npz", table=table, chosen=chosen, rejected=rejected, pair_weight=weight
    )
    export_adapt(tmp_path / "adapt", model, shots=shots)
    export_score(tmp_path / "score", model)
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, check=True, timeout=120)
    found = np.load(tmp_path / "found.npz")
    user = np.repeat(np.arange(users), shots)
    prefs = from_arrays(table, chosen.ravel(), rejected.ravel(), user, pair_weight=weight.ravel())
    expected = adapt(model, prefs)
    for name in POSTERIOR_ARRAYS:
        if name not in ("steps", "grad_norm"):
            np.testing.assert_allclose(found[name], getattr(expected, name), atol=1e-4)
    np.testing.assert_allclose(found["scores"], score(model, expected, table), atol=1e-3)


def test_a_program_that_is_there_stays(tmp_path):
    prior = Population(jnp.ones(1), jnp.zeros((1, 0)))
    model = Model(LinearBasis(1), {"V": jnp.ones((2, 1))}, jnp.float32(1.0), prior, "gaussian")
    (tmp_path / "program").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        export_score(tmp_path / "program", model)
    with pytest.raises(ValueError, match="shots is 0"):
        export_adapt(tmp_path / "other", model, shots=0)
    export_score(tmp_path / "program", model, overwrite=True)
    assert (tmp_path / "program").stat().st_size > 100
