"""BLAS has one thread while a fit runs, and its own number again afterwards."""

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from lore_jax.parallel.lapack_threads import one_lapack_thread


def threads():
    return {
        library["filepath"]: library["num_threads"]
        for library in ThreadpoolController().info()
        if library["user_api"] == "blas"
    }


def test_one_thread_inside_and_as_many_as_before_behind():
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert any("scipy" in path for path in before)
        with one_lapack_thread():
            assert set(threads().values()) == {1}
            with one_lapack_thread():
                assert set(threads().values()) == {1}
            assert set(threads().values()) == {1}
        assert threads() == before
        with pytest.raises(ValueError, match="diverged"), one_lapack_thread():
            raise ValueError("diverged")
        assert threads() == before
