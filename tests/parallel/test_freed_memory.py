"""Freed memory goes back to the system, and nowhere is that an error."""

import ctypes

from lore_jax.parallel import freed_memory
from lore_jax.parallel.freed_memory import give_back_freed_memory


def test_the_library_is_asked_where_it_can_be(monkeypatch):
    asked = []

    class Library:
        def malloc_trim(self, pad):
            asked.append(pad)
            return 1

    monkeypatch.setattr(freed_memory.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    assert give_back_freed_memory()
    assert asked == [0]
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not give_back_freed_memory()
    monkeypatch.setattr(freed_memory.sys, "platform", "darwin")
    assert not give_back_freed_memory()
