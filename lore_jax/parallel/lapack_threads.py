"""One thread for LAPACK while fits run: on a CPU its threads and those of XLA wait for each other.

XLA runs a program on every core, and validation runs a fit on each. Factorisations inside of them
are calls of SciPy's BLAS, whose own threads wait for the next call in a loop that keeps a core
busy, and let in one caller at a time: two fits side by side took as long as one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg.cython_lapack  # noqa: F401  # what XLA calls: loaded before it is limited
from threadpoolctl import threadpool_limits


@contextmanager
def one_lapack_thread() -> Iterator[None]:
    """Limits NumPy's and SciPy's BLAS in this process to one thread.

    Of several threads that ask for it the first decides when it ends.

    Example:
        >>> with one_lapack_thread():
        ...     float(jnp.linalg.cholesky(4.0 * jnp.eye(2))[0, 0])
        2.0
    """
    with threadpool_limits(1, user_api="blas"):
        yield
