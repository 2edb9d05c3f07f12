"""The compiled solvers: what lies beside this file as a library, or None.

Whoever builds the package with a C++ compiler has them (`hatch_build.py`); a wheel for a platform
brings them along. Without them, and on accelerators, XLA does the same.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

MOST_ITEMS = 64  # of a ranking, as `entries.cc`
FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "solvers.library"
_NEWTON_STEPS, _INTERIOR_STEPS = 50, 40  # at most; as `newton.py` and `interior_point.py`


class Answers(NamedTuple):
    """Pairs of a table; a user's are contiguous.

    Attributes:
        table: rewards along a prior's directions, float32 `[responses, columns]`.
        chosen: rows of the table, int32 `[pairs]`.
        rejected: rows of the table, int32 `[pairs]`.
        pair_weight: how much a pair counts, float32 `[pairs]`; may be one number broadcast.
    """

    table: Float[np.ndarray, "responses columns"]
    chosen: Int32[np.ndarray, " pairs"]
    rejected: Int32[np.ndarray, " pairs"]
    pair_weight: Float[np.ndarray, " pairs"]


class Users(NamedTuple):
    """Who is solved; int32.

    Attributes:
        rows: of the results.
        first: each one's first pair.
        count: how many pairs.
    """

    rows: Int[np.ndarray, " users"]
    first: Int[np.ndarray, " users"]
    count: Int[np.ndarray, " users"]


class Said(NamedTuple):
    """Answers of any kind as entries (`users.entries`); users stand in the last axis.

    Attributes:
        first: rows of a table, int32.
        second: rows of what the first is compared with, int32.
        weight: how much an entry counts, 0 for padding, float32.
        lower: the cut point below a level, of a tie the outcome (-1, 0 or 1), else 0; float32.
        upper: the cut point above a level, else 0; float32.
        stretches: of entries of one kind: what they say (pairs 0, levels 1, Davidson's ties 2,
            rankings 3), entries, and of rankings responses, places and whether the worst was said;
            int32 `[stretches, 5]`.
        log_nu: of the ties of each stretch, float32.
    """

    first: Int32[np.ndarray, "entries users"]
    second: Int32[np.ndarray, "entries users"]
    weight: Float[np.ndarray, "entries users"]
    lower: Float[np.ndarray, "entries users"]
    upper: Float[np.ndarray, "entries users"]
    stretches: Int32[np.ndarray, "stretches 5"]
    log_nu: Float[np.ndarray, " stretches"]


class Results(NamedTuple):
    """Where posteriors are written, contiguous arrays; fields as `model.posterior.Posterior`'s."""

    weights: Float[np.ndarray, "users rank"]
    covariance: Float[np.ndarray, "users rank rank"]
    shots: Int32[np.ndarray, " users"]
    converged: Bool[np.ndarray, " users"]
    steps: Int32[np.ndarray, " users"]
    grad_norm: Float[np.ndarray, " users"]


def digest(folder: Path) -> str:
    """Of the sources in a folder, by which a library is known to be theirs."""
    sources = sorted(path for path in folder.iterdir() if path.suffix in (".cc", ".h"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@functools.cache
def load() -> ctypes.CDLL | None:
    """The library, where it was built from the sources that lie beside it."""
    try:
        library = ctypes.CDLL(str(LIBRARY))
        built_from = library.lore_source_digest
    except (OSError, AttributeError):  # not built, for another machine, or something else
        return None
    built_from.restype = ctypes.c_char_p
    return library if built_from().decode() == digest(FOLDER) else None


def adapt_gaussian(
    answers: Answers,
    users: Users,
    mean: Float[np.ndarray, " rank"],
    factor: Float[np.ndarray, "rank k"],
    out: Results,
) -> None:
    """Writes the posteriors of some users under `w = mean + factor d`, `d ~ N(0, I)`.

    What `GaussianPrior.solve` finds, to rounding.

    Args:
        answers: pairs; the table is along the factor's columns, and along the mean.
        users: some of those who gave them; all rows of `users`, `answers` and `out` exist.
        mean: of the weights, float32.
        factor: of their covariance, float32.
        out: of which the users' rows are written.

    Raises:
        MemoryError: there is not enough memory for eight users.
        RuntimeError: there is no library (`load`).
    """
    rank, k = factor.shape
    sizes = ctypes.c_int64(rank), ctypes.c_int64(k), ctypes.c_int32(_NEWTON_STEPS)
    _adapt("lore_adapt_gaussian", answers, users, mean, factor, *sizes, *out)


def adapt_simplex(
    answers: Answers, users: Users, mean: Float[np.ndarray, " rank"], out: Results
) -> None:
    """Writes the weights on the simplex that minimise the mean loss of some users.

    What `SimplexPrior.solve` finds, to rounding; there is no covariance.

    Args:
        answers: pairs; the table is divided by the temperature.
        users: some of those who gave them; all rows of `users`, `answers` and `out` exist.
        mean: the weights of who has no pair that counts, float32.
        out: of which the users' rows are written, but for the covariance.

    Raises:
        MemoryError: there is not enough memory for eight users.
        RuntimeError: there is no library (`load`).
    """
    sizes = ctypes.c_int64(len(mean)), ctypes.c_int32(_INTERIOR_STEPS)
    written = (array for name, array in out._asdict().items() if name != "covariance")
    _adapt("lore_adapt_simplex", answers, users, mean, *sizes, *written)


def adapt_entries(
    table: Float[np.ndarray, "rows columns"],
    said: Said,
    mean: Float[np.ndarray, " rank"],
    factor: Float[np.ndarray, "rank k"],
    out: Results,
) -> None:
    """Writes the posteriors of users under `w = mean + factor d` who answered in any way.

    What `GaussianPrior.solve` finds with `Segments` of `Logistic`, `CumulativeLogit`, `Davidson`
    and `RankingChain`, to rounding.

    Args:
        table: rewards along the factor's columns, and along the mean, float32.
        said: what all users of `out` said; the rows are those of the table.
        mean: of the weights, float32.
        factor: of their covariance, float32.
        out: all of which is written.

    Raises:
        MemoryError: there is not enough memory for eight users.
        RuntimeError: there is no library (`load`).
    """
    entries, users = said.weight.shape
    arrays, stretches = said[:5], (said.stretches, said.log_nu)
    rank, k = factor.shape
    numbers = ctypes.c_int64(entries), ctypes.c_int64(users)
    sizes = ctypes.c_int64(rank), ctypes.c_int64(k), ctypes.c_int32(_NEWTON_STEPS)
    count = ctypes.c_int64(len(said.stretches))
    prior = mean, factor, *sizes
    if not _call("lore_adapt_entries", table, *arrays, *numbers, *stretches, count, *prior, *out):
        raise MemoryError(f"no memory for eight users of {entries:,} entries")


def _adapt(name: str, answers: Answers, users: Users, *rest: object) -> None:
    """A solver with answers and users in front."""
    weight = answers.pair_weight
    stride = weight.strides[0] // weight.itemsize if len(weight) else 0
    longest = int(users.count.max(initial=0))
    numbers = ctypes.c_int64(len(users.rows)), ctypes.c_int64(longest)
    if not _call(name, *answers, ctypes.c_int64(stride), *users, *numbers, *rest):
        raise MemoryError(f"no memory for eight users of {longest:,} pairs")


def _call(name: str, *arguments: object) -> bool:
    """Whether a function of the library had the memory it needs; arrays by where they lie."""
    library = load()
    if library is None:
        raise RuntimeError(f"{LIBRARY.name} was not built: see hatch_build.py")
    return bool(getattr(library, name)(*map(_passed, arguments)))


def _passed(argument: object) -> object:
    is_array = isinstance(argument, np.ndarray)
    return ctypes.c_void_p(argument.ctypes.data) if is_array else argument
