"""Sessions on disk and as dictionaries come back as they were."""

import json

import jax.numpy as jnp
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model
from lore_jax.model.prior import GaussianPrior
from lore_jax.users.saved_session import load_session, save_session
from lore_jax.users.session import Session

RANK = 3
TABLE = np.random.default_rng(0).standard_normal((14, RANK)).astype(np.float32)
PRIOR = GaussianPrior(jnp.ones(RANK), jnp.eye(RANK))
MODEL = Model(LinearBasis(RANK), {"V": jnp.eye(RANK)}, jnp.ones(()), PRIOR)
NAMES = ["ann", "bob", "cid"]


def answered():
    session = Session(MODEL, TABLE, users=NAMES, capacity=32)
    session.observe([0, 1, 2, 5], [3, 3, 3, 4], ["ann", "cid", "ann", "cid"], time=[1, 1, 2.5, 3])
    return session


def check(again, session):
    assert again.names.tolist() == NAMES
    np.testing.assert_allclose(again.posterior.weights, session.posterior.weights, atol=1e-6)
    assert again.to_dict() == session.to_dict()
    with pytest.raises(ValueError, match="before the user's last one"):
        again.observe(0, 1, "ann", time=2.0)


def test_through_json_and_parquet(tmp_path):
    session = answered()
    text = json.dumps(session.to_dict())
    check(Session.from_dict(json.loads(text), MODEL, TABLE, capacity=32), session)
    path = save_session(tmp_path / "session.parquet", session)
    check(load_session(path, MODEL, TABLE, capacity=32), session)
    with pytest.raises(FileExistsError):
        save_session(path, session)
    assert pyarrow.parquet.read_table(path).num_rows == 4
    empty = Session(MODEL, TABLE, users=NAMES, capacity=32)
    assert Session.from_dict(empty.to_dict(), MODEL, TABLE).posterior.shots.tolist() == [0, 0, 0]


def test_other_files_and_tables_are_refused(tmp_path):
    saved = answered().to_dict()
    with pytest.raises(ValueError, match="another table of responses"):
        Session.from_dict(saved, MODEL, TABLE[::-1].copy())
    with pytest.raises(ValueError, match="format 2: format 1 is expected"):
        Session.from_dict({**saved, "format": 2}, MODEL, TABLE)
    with pytest.raises(ValueError, match="the saved session has user, time missing"):
        Session.from_dict({k: saved[k] for k in saved if k not in ("user", "time")}, MODEL, TABLE)
    path = tmp_path / "file"
    path.write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        load_session(path, MODEL, TABLE)
    pyarrow.parquet.write_table(pyarrow.table({"user": [1]}), path)
    with pytest.raises(ValueError, match="holds no session"):
        load_session(path, MODEL, TABLE)
