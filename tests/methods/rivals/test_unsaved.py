"""Nothing is written by a predictor that cannot be saved."""

import pytest

from lore_jax.methods.rivals.unsaved import Unsaved


def test_it_says_so_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"a Unsaved cannot be saved in .*model: only models with"):
        Unsaved().save(tmp_path / "model")
    assert not list(tmp_path.iterdir())
