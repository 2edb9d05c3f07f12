"""Sessions on disk and as dictionaries come back as they were."""

import json
import os

import jax.numpy as jnp
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from strange_json import of_other_kinds, put

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


def test_a_field_of_another_type_is_refused_at_its_place():
    saved = answered().to_dict()
    for place, value in of_other_kinds(saved):
        with pytest.raises(ValueError, match=r"^the saved session[ :]") as refusal:
            Session.from_dict(put(saved, place, value), MODEL, TABLE, capacity=32)
        assert str(place[0]) in str(refusal.value)
    with pytest.raises(ValueError, match="the saved session is a list: a mapping is expected"):
        Session.from_dict([], MODEL, TABLE)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("user",), [0, 0, 2], "3 user, 4 chosen, 4 rejected, 4 time: as many of each"),
        (("user", 0), 3, "user 3 is not one of the 3"),
        (("chosen", 1), 14, "chosen holds 14, outside a table of 14"),
        (("rejected", 1), 2**40, "rejected holds 1099511627776, outside a table of 14"),
        (("chosen", 0), 3, "chosen equals rejected"),
        (("time", 1), -5.0, "an answer is dated -5, before"),
        (("users", 0), "bob", "user_ids holds 'bob' 2 times"),
        (("users",), [], "users has shape"),
    ],
)
def test_what_cannot_be_is_refused(place, value, message):
    changed = put(answered().to_dict(), place, value)
    with pytest.raises(ValueError, match=f"^the saved session(: | has ).*{message}"):
        Session.from_dict(changed, MODEL, TABLE, capacity=32)


COLUMNS = [["x"] * 4, [None] * 4, [0.5] * 4, [[0]] * 4, [True] * 4, [b"x"] * 4, [2**40] * 4]


@pytest.mark.parametrize("column", ["user", "chosen", "rejected", "time"])
def test_columns_of_other_types_are_refused(tmp_path, column):
    path = save_session(tmp_path / "session.parquet", answered())
    table = pyarrow.parquet.read_table(path)
    at = table.column_names.index(column)
    others = [table.set_column(at, column, pyarrow.array(own)) for own in COLUMNS]
    others = others[:2] + others[3:6] if column == "time" else others  # any number is a time
    others += [table.remove_column(at), table.append_column(column, table[column])]
    for other in others:
        pyarrow.parquet.write_table(other.replace_schema_metadata(table.schema.metadata), path)
        with pytest.raises(ValueError, match=r"session\.parquet(: the saved| holds no) session"):
            load_session(path, MODEL, TABLE, capacity=32)


def test_metadata_and_files_that_are_no_session_are_refused(tmp_path):
    path = save_session(tmp_path / "session.parquet", answered())
    table = pyarrow.parquet.read_table(path)
    for text in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"users": 3}'):
        changed = table.replace_schema_metadata({b"lore_jax.session": text})
        pyarrow.parquet.write_table(changed, path)
        with pytest.raises(ValueError, match=r"session\.parquet(: the saved| holds no) session"):
            load_session(path, MODEL, TABLE)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is no regular file"):
        load_session(tmp_path / "pipe", MODEL, TABLE)
