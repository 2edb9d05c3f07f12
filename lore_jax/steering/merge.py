"""Merging LoRA adapters by users' weights: thousands of users in one call.

With adapters `scale_k B_k A_k` and a user's weights w, what is wanted is the weighted sum of what
they change, `D = sum_k w_k scale_k B_k A_k`.

    cat      D exactly: all A stacked, all B side by side with `w_k scale_k` in them; the rank is
             the sum of the ranks, and alpha that rank, so that the result's own scale is 1
    svd      D as well as a given rank allows; exactly where that rank is the sum of the ranks
    linear   what Personalized Soups does: A and B are averaged each for itself, `(sum_k w_k B_k)
             (sum_l w_l A_l)`. That is not D: adapters meet one another's halves

PEFT's own `linear` is a third thing: it weighs A and B by the root of `|w_k| scale_k` each.

The svd needs no matrix `[out, in]`: with `A' = Q_A R_A` (all A, transposed) and `B = Q_B R_B` (all
B), computed once for all users, `D = Q_B (R_B diag(w scale) R_A') Q_A'`, and the matrix in the
middle, of the sum of the ranks, has D's singular values. It also says how far `linear` is from D.

Reference:
    Jang et al. 2023, "Personalized Soups", arXiv 2310.11564, section 3.3.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from lore_jax.parallel.devices import view_on_host
from lore_jax.steering.adapters import Adapter, refuse_unlike
from lore_jax.steering.mixing_weights import MergeConfig

_BYTES_AT_A_TIME = 1 << 26
_CHECKED_USERS = 16  # whose distance from the sum of deltas is computed for `linear`


class Merged(NamedTuple):
    """The merged adapters of some users.

    Attributes:
        users: their positions.
        same: the numbers that everybody's data begin with (of cat, A), `[same]`.
        rows: of each user, the numbers after them, in the order of `tensors`, `[users, numbers]`.
        error: `|D - what was made| / |D|` over all modules, of each user; NaN: not computed.
    """

    users: range
    same: Shaped[np.ndarray, " same"]
    rows: Shaped[np.ndarray, "users numbers"]
    error: Float[np.ndarray, " users"]


class Merger(NamedTuple):
    """Adapters ready to be merged for any number of users.

    Attributes:
        config: adapter_config.json of what is made.
        tensors: shape of each matrix by name, in the order of the data: all A, then all B.
        dtype: number type of the data.
        merge: merges for weights `[users, adapters]`, some users at a time.
    """

    config: dict[str, Any]
    tensors: dict[str, tuple[int, int]]
    dtype: np.dtype
    maker: _Linear | _Cat | _Svd

    def merge(
        self, weights: Float[np.ndarray, "users adapters"], users_at_a_time: int | None = None
    ) -> Iterator[Merged]:
        """Merges for users' weights, as `mixing_weights` gives them, some users at a time.

        Args:
            weights: `[users, adapters]`.
            users_at_a_time: None: as many as fit into 64 MB.

        Yields:
            The `Merged` of the next users. Its rows may be overwritten by the next ones.
        """
        users, maker = len(weights), self.maker
        numbers = sum(rows * columns for rows, columns in self.tensors.values()) - len(maker.same)
        size = users_at_a_time or max(1, _BYTES_AT_A_TIME // (numbers * self.dtype.itemsize))
        size = min(size, users)
        # What takes long about new memory is the first use of its pages. Two buffers take turns:
        # the caller still looks at one while the other is filled.
        free = [jnp.zeros((size, numbers), _stored(self.dtype)) for _ in range(2)]
        for start in range(0, users, size):
            part = weights[start : start + size].astype(np.float32)
            padded = np.pad(part, ((0, size - len(part)), (0, 0)))  # all of one shape
            buffer, error = maker.merge(padded, free.pop(0))
            if start == 0 and isinstance(maker, _Linear):
                error[:_CHECKED_USERS] = maker.cores.error_of_linear(padded[:_CHECKED_USERS])
            rows, whose = view_on_host(buffer)[: len(part)], range(start, start + len(part))
            rows = rows.view(self.dtype)
            free.append(buffer)
            del buffer
            yield Merged(whose, maker.same, rows, error[: len(part)])
            del rows


def make_merger(adapters: Sequence[Adapter], config: MergeConfig | None = None) -> Merger:
    """Lays adapters out for merging, once for all users.

    Args:
        adapters: by `read_adapter`, one a column of users' weights.
        config: how they are merged.

    Returns:
        The `Merger`.

    Raises:
        ValueError: the adapters do not fit together (`refuse_unlike`), or the rank asked for
            exceeds the sum of theirs.

    Example:
        >>> merger = make_merger([read_adapter("expert"), read_adapter("brief")])  # doctest: +SKIP
        >>> merged = next(merger.merge(np.array([[0.5, 0.5]])))  # doctest: +SKIP
    """
    config = config or MergeConfig()
    refuse_unlike(adapters, same_rank=config.method == "linear")
    first, total = adapters[0], sum(adapter.rank for adapter in adapters)
    rank = {"linear": first.rank, "cat": total, "svd": config.rank or first.rank}[config.method]
    if rank > total:
        raise ValueError(f"rank is {rank}: at most {total}, the sum of the adapters', is expected")
    made = {**first.config, "r": rank, "inference_mode": True}
    if config.method != "linear":  # the scale is in B
        made |= {"lora_alpha": rank, "use_rslora": False}
    tensors = {
        f"{module}.lora_A.weight": (rank, width)
        for module, (_, width) in zip(first.modules, first.shapes, strict=True)
    }
    tensors |= {
        f"{module}.lora_B.weight": (height, rank)
        for module, (height, _) in zip(first.modules, first.shapes, strict=True)
    }
    if config.method == "cat":
        maker = _make_cat(adapters)
    else:
        cores = _make_cores(adapters)
        maker = _make_linear(adapters, cores) if config.method == "linear" else _Svd(cores, rank)
    return Merger(made, tensors, first.dtype, maker)


class _Linear(NamedTuple):
    """Sums of all A and B; `flat [adapters, numbers]`."""

    flat: Array
    cores: _Cores

    @property
    def same(self) -> np.ndarray:
        return np.zeros(0, self.flat.dtype)

    def merge(self, weights: np.ndarray, buffer: Array) -> tuple[Array, np.ndarray]:
        return _weighted_sum(self.flat, weights, buffer), np.full(len(weights), np.nan)


class _Cat(NamedTuple):
    """A as it is, B with the weights in it; `b [all outs, adapters' ranks]`."""

    same: np.ndarray
    b: Array
    column: np.ndarray
    scale: np.ndarray

    def merge(self, weights: np.ndarray, buffer: Array) -> tuple[Array, np.ndarray]:
        # The scale of each column of B: of the adapter that it comes from.
        by_column = (weights * self.scale)[:, self.column]
        return _scaled(self.b, by_column, buffer), np.zeros(len(weights))


class _Cores(NamedTuple):
    """Of every module: `A' = Q_A R_A` and `B = Q_B R_B` of all adapters together.

    Attributes:
        qa: `[in, m]`, m at most the sum of the ranks.
        ra: `[m, ranks]`.
        qb: `[out, n]`.
        rb: `[n, ranks]`.
        column: the adapter of each of the ranks.
        scale: of each adapter.
    """

    qa: list[np.ndarray]
    ra: list[np.ndarray]
    qb: list[np.ndarray]
    rb: list[np.ndarray]
    column: np.ndarray
    scale: np.ndarray
    dtype: np.dtype

    def exact(self, module: int, weights: np.ndarray) -> np.ndarray:
        """`R_B diag(w scale) R_A'` of every user, `[users, n, m]`."""
        by_column = (weights * self.scale)[:, self.column]
        return (self.rb[module][None] * by_column[:, None]) @ self.ra[module].T

    def error_of_linear(self, weights: np.ndarray) -> np.ndarray:
        """`|D - scale (sum w B)(sum w A)| / |D|` of every user."""
        missed, total = np.zeros(len(weights)), np.zeros(len(weights))
        adapters = len(self.scale)
        for module in range(len(self.ra)):
            ra, rb = (
                each[module].reshape(len(each[module]), adapters, -1) for each in (self.ra, self.rb)
            )
            sums = [np.einsum("nkr,uk->unr", each, weights) for each in (rb, ra)]
            made = self.scale[0] * sums[0] @ sums[1].transpose(0, 2, 1)
            exact = self.exact(module, weights)
            missed += ((made - exact) ** 2).sum(axis=(1, 2))
            total += (exact**2).sum(axis=(1, 2))
        return np.sqrt(missed / np.maximum(total, np.finfo(np.float32).tiny))


class _Svd(NamedTuple):
    """The best approximation of D by adapters of a rank."""

    cores: _Cores
    rank: int

    @property
    def same(self) -> np.ndarray:
        return np.zeros(0, self.cores.dtype)

    def merge(self, weights: np.ndarray, buffer: Array) -> tuple[Array, np.ndarray]:
        users, cores = len(weights), self.cores
        a, b, missed, total = [], [], np.zeros(users), np.zeros(users)
        for module, (qa, qb) in enumerate(zip(cores.qa, cores.qb, strict=True)):
            left, values, right = np.linalg.svd(cores.exact(module, weights), full_matrices=False)
            missed += (values[:, self.rank :] ** 2).sum(axis=1)
            total += (values**2).sum(axis=1)
            # Both sides get the root, so that neither is lost in a narrow number type. A module
            # smaller than the rank has fewer directions: the rest are zeros.
            spare = max(0, self.rank - values.shape[1])
            root = np.sqrt(values[:, None, : self.rank])
            side_a = ((right[:, : self.rank] * root.transpose(0, 2, 1)) @ qa.T).astype(cores.dtype)
            side_b = (qb @ (left[:, :, : self.rank] * root)).astype(cores.dtype)
            a.append(np.pad(side_a, ((0, 0), (0, spare), (0, 0))).reshape(users, -1))
            b.append(np.pad(side_b, ((0, 0), (0, 0), (0, spare))).reshape(users, -1))
        error = np.sqrt(missed / np.maximum(total, np.finfo(np.float32).tiny))
        rows = np.concatenate([*a, *b], axis=1)
        return jnp.asarray(rows.view(_stored(rows.dtype))), error


def _columns(adapters: Sequence[Adapter]) -> tuple[np.ndarray, np.ndarray]:
    """The adapter of each of the ranks put together, and each adapter's scale."""
    column = np.repeat(np.arange(len(adapters)), [adapter.rank for adapter in adapters])
    return column, np.array([adapter.scale for adapter in adapters], np.float32)


def _make_linear(adapters: Sequence[Adapter], cores: _Cores) -> _Linear:
    flat = [
        np.concatenate([np.ravel(matrix) for matrix in (*adapter.a, *adapter.b)])
        for adapter in adapters
    ]
    return _Linear(jnp.asarray(np.stack(flat)), cores)


def _make_cat(adapters: Sequence[Adapter]) -> _Cat:
    count = len(adapters[0].modules)
    a = [np.concatenate([adapter.a[m] for adapter in adapters]).ravel() for m in range(count)]
    b = [np.concatenate([adapter.b[m] for adapter in adapters], axis=1) for m in range(count)]
    return _Cat(np.concatenate(a), jnp.asarray(np.concatenate(b)), *_columns(adapters))


def _make_cores(adapters: Sequence[Adapter]) -> _Cores:
    qa, ra, qb, rb = [], [], [], []
    for module in range(len(adapters[0].modules)):
        a = np.concatenate([adapter.a[module].astype(np.float32) for adapter in adapters])
        b = np.concatenate([adapter.b[module].astype(np.float32) for adapter in adapters], axis=1)
        for matrix, q, r in ((a.T, qa, ra), (b, qb, rb)):
            one, two = np.linalg.qr(matrix)
            q.append(one)
            r.append(two)
    return _Cores(qa, ra, qb, rb, *_columns(adapters), adapters[0].dtype)


@functools.partial(jax.jit, donate_argnums=2, keep_unused=True)
def _weighted_sum(flat: Array, weights: Array, buffer: Array) -> Array:
    """`sum_k w_uk flat_k`, summed in float32, one pass over what is written: `buffer`'s memory."""
    total = weights[:, :1] * flat[0].astype(jnp.float32)[None]
    for k in range(1, len(flat)):
        total += weights[:, k : k + 1] * flat[k].astype(jnp.float32)[None]
    return _bits(total.astype(flat.dtype))


@functools.partial(jax.jit, donate_argnums=2, keep_unused=True)
def _scaled(b: Array, by_column: Array, buffer: Array) -> Array:
    """`B diag(by_column)` of every user, `[users, numbers]`, in `buffer`'s memory."""
    scaled = (b.astype(jnp.float32)[None] * by_column[:, None]).astype(b.dtype)
    return _bits(scaled.reshape(len(by_column), -1))


def _stored(dtype: np.dtype) -> np.dtype:
    """A type of the same size that NumPy can look at where JAX holds it: it knows no bfloat16."""
    return np.dtype(np.uint16) if dtype.itemsize == 2 else dtype


def _bits(numbers: Array) -> Array:
    return jax.lax.bitcast_convert_type(numbers, _stored(numbers.dtype))
