"""For other programs: users as a Parquet table, adapting and scoring as StableHLO programs."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from lore_jax.adapt import POSTERIOR_ARRAYS, Posterior, adapt_user
from lore_jax.files import write_file
from lore_jax.model import Model, apply_basis, input_width

PLATFORMS = ("cpu", "cuda", "tpu")


def hash_user_ids(user_ids: Iterable[Any], key: bytes = b"") -> np.ndarray:
    """Names that cannot be read back: `HMAC-SHA256(key, name)`, 64 hexadecimal digits; equal names stay equal.

    Args:
        user_ids: the users' names.
        key: a secret. Without one, whoever can guess a name (an e-mail address, a number) can check the guess.

    Returns:
        `[users]`, of str.

    Example:
        >>> hash_user_ids(["ann"], b"secret")[0][:8]
        'aad4e619'
    """
    return np.array([hmac.new(key, str(name).encode(), hashlib.sha256).hexdigest() for name in user_ids], dtype="U64")


def export_weights(
    path: str | os.PathLike[str],
    users: Posterior | Iterable[Posterior],
    *,
    hash_ids: bool = False,
    hash_key: bytes = b"",
    overwrite: bool = False,
) -> Path:
    """Writes one row a user to a Parquet file, whole or not at all.

    Columns: `user_id` (text; the user's number where users have no names), `weights` and `variance` (float32 lists of
    length rank: the mode, and the diagonal of the covariance there), `shots` and `converged`.

    Args:
        path: the file to make.
        users: what is known of the users; or parts of them one after the other, each written before the next is asked
            for, as `adapt_cache` gives them. One row group a part.
        hash_ids: write `hash_user_ids` instead of the names.
        hash_key: the key for that.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        ValueError: there are no parts.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> pandas.read_parquet(export_weights("users.parquet", users)).columns.tolist()
        ['user_id', 'weights', 'variance', 'shots', 'converged']
        >>> export_weights("many.parquet", (adapt(model, prefs) for prefs in parts))
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: overwrite it explicitly or choose another file")
    parts = [users] if isinstance(users, Posterior) else users
    write_file(path, _parquet(parts, hash_key if hash_ids else None))
    return path


class _Sink(io.RawIOBase):
    """A file for Parquet's writer whose content is taken away while it is written."""

    def __init__(self) -> None:
        self._size, self._pending = 0, []

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, content: Any) -> int:
        self._pending.append(bytes(content))
        self._size += len(self._pending[-1])
        return len(self._pending[-1])

    def take(self) -> list[bytes]:
        taken, self._pending = self._pending, []
        return taken


def _parquet(parts: Iterable[Posterior], hash_key: bytes | None) -> Iterator[bytes]:
    import pyarrow.parquet

    sink, writer, done = _Sink(), None, 0
    for users in parts:
        names = np.arange(done, done + users.num_users) if users.user_ids is None else users.user_ids
        done += users.num_users
        rows = _table(users, names.astype(str) if hash_key is None else hash_user_ids(names, hash_key))
        writer = writer or pyarrow.parquet.ParquetWriter(sink, rows.schema)
        writer.write_table(rows, row_group_size=max(1, users.num_users))
        yield from sink.take()
    if writer is None:
        raise ValueError("there are no parts of users to export: at least one is expected")
    writer.close()
    yield from sink.take()


def _table(users: Posterior, names: np.ndarray) -> Any:
    import pyarrow

    weights = np.asarray(users.weights, np.float32)
    variance = np.ascontiguousarray(np.diagonal(np.asarray(users.covariance, np.float32), axis1=1, axis2=2))
    rank = weights.shape[1]
    return pyarrow.table(
        {
            "user_id": pyarrow.array(names.tolist(), pyarrow.string()),
            "weights": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(weights.reshape(-1)), rank),
            "variance": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(variance.reshape(-1)), rank),
            "shots": pyarrow.array(np.asarray(users.shots, np.int32)),
            "converged": pyarrow.array(np.asarray(users.converged, bool)),
        }
    )


def export_adapt(
    path: str | os.PathLike[str],
    model: Model,
    *,
    shots: int,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
) -> Path:
    """Writes adapting as a StableHLO program, which runs wherever JAX does, without this library.

    `(embeddings [responses, dim] float32, chosen [users, shots] int32, rejected [users, shots] int32, weight
    [users, shots] float32) -> {"weights" [users, rank], "covariance" [users, rank, rank], "shots", "converged", "steps",
    "grad_norm" [users]}`, for any number of users and responses; a pair of weight 0 is padding. The model is part of the
    program. Terms that responses of the fit have of their own are not: responses count as new.

    Args:
        path: the file to make.
        model: a fitted model.
        shots: the number of pairs a user, padding included.
        platforms: where it shall run: "cpu", "cuda", "rocm", "tpu".
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        ValueError: `shots` is not positive.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> export_adapt("adapt.stablehlo", model, shots=10)
        >>> program = jax.export.deserialize(bytearray(open("adapt.stablehlo", "rb").read()))
        >>> program.call(embeddings, chosen, rejected, weight)["weights"]
    """
    if shots < 1:
        raise ValueError(f"shots is {shots}: 1 or more is expected")

    def run(embeddings: jax.Array, chosen: jax.Array, rejected: jax.Array, weight: jax.Array) -> dict[str, jax.Array]:
        table = apply_basis(model, embeddings)
        features = jnp.moveaxis(table[chosen] - table[rejected], 0, -1)
        found = adapt_user(model, features, weight.T)
        return {name: jnp.moveaxis(getattr(found, name), -1, 0) for name in POSTERIOR_ARRAYS}

    responses, users = jax.export.symbolic_shape("responses, users")
    index, weight = (jax.ShapeDtypeStruct((users, shots), dtype) for dtype in (jnp.int32, jnp.float32))
    embeddings = jax.ShapeDtypeStruct((responses, input_width(model)), jnp.float32)
    return _write_program(path, run, (embeddings, index, index, weight), platforms, overwrite)


def export_score(
    path: str | os.PathLike[str], model: Model, *, platforms: Sequence[str] = PLATFORMS, overwrite: bool = False
) -> Path:
    """Writes scoring as a StableHLO program, which runs wherever JAX does, without this library.

    `(embeddings [candidates, dim] float32, weights [users, rank] float32) -> scores [users, candidates]`, in logits, for
    any number of users and candidates. The model is part of the program, without its responses' own terms.

    Args:
        path: the file to make.
        model: a fitted model.
        platforms: where it shall run.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> export_score("score.stablehlo", model)
        >>> jax.export.deserialize(bytearray(open("score.stablehlo", "rb").read())).call(embeddings, posterior.weights)
    """

    def run(embeddings: jax.Array, weights: jax.Array) -> jax.Array:
        return weights @ apply_basis(model, embeddings).T

    candidates, users = jax.export.symbolic_shape("candidates, users")
    embeddings = jax.ShapeDtypeStruct((candidates, input_width(model)), jnp.float32)
    weights = jax.ShapeDtypeStruct((users, model.rank), jnp.float32)
    return _write_program(path, run, (embeddings, weights), platforms, overwrite)


def _write_program(
    path: str | os.PathLike[str], run: Callable[..., Any], shapes: Any, platforms: Sequence[str], overwrite: bool
) -> Path:
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already: overwrite it explicitly or choose another file")
    program = jax.export.export(jax.jit(run), platforms=tuple(platforms))(*shapes)
    write_file(path, [bytes(program.serialize())])
    return path
