"""Users as a Parquet table, read back by pandas."""

import hashlib
import hmac

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from lore_jax.export.parquet import export_weights, hash_user_ids
from lore_jax.model.posterior import Posterior


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
    file.write_text("another file")
    with pytest.raises(FileExistsError, match="is there already"):
        export_weights(file, make_users())
    assert file.read_text() == "another file"
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
