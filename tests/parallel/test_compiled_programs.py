"""Programs are dropped where maps are counted; the limit itself is tested in `runs/test_parts`."""

import jax
import jax.numpy as jnp
import pytest

from lore_jax.parallel import compiled_programs
from lore_jax.parallel.compiled_programs import drop_programs_if_many, num_maps


def test_a_system_without_counts_drops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_programs, "_MAX_MAPS", tmp_path / "missing")
    monkeypatch.setattr(jax, "clear_caches", lambda: pytest.fail("dropped"))
    assert not drop_programs_if_many(share=0.0)


@pytest.mark.skipif(not compiled_programs._MAX_MAPS.exists(), reason="the system counts no maps")
def test_few_programs_stay(tmp_path, monkeypatch):
    dropped = []
    monkeypatch.setattr(jax, "clear_caches", lambda: dropped.append(True))
    monkeypatch.setattr(compiled_programs, "_MAX_MAPS", tmp_path / "limit")
    jax.jit(jnp.sin)(1.0)
    for limit, expected in ((10 * num_maps(), False), (2 * num_maps(), True)):
        (tmp_path / "limit").write_text(str(limit))
        assert drop_programs_if_many() == expected
    assert dropped == [True]
