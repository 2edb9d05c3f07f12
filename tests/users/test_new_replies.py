"""Rewards of new replies are those of a table that holds them."""

import numpy as np
import pytest
from small_objects import small_objects

from lore_jax.model.model import rewards
from lore_jax.users.new_replies import rewards_of_new


@pytest.mark.parametrize("count", [1, 16, 37])
def test_they_are_those_of_a_table(count):
    objects = small_objects()
    table = objects["prefs"].embeddings[:count]
    expected = rewards(objects["model"], table).table
    np.testing.assert_allclose(rewards_of_new(objects["model"], table), expected, atol=1e-6)


def test_what_is_no_embedding_is_refused():
    model, table = (small_objects()[name] for name in ("model", "prefs"))
    rows = np.array(table.embeddings[:3])
    rows[1, 2] = np.nan
    with pytest.raises(ValueError, match="embeddings row 1 holds nan in column 2: not finite"):
        rewards_of_new(model, rows)
    with pytest.raises(ValueError, match="embeddings have dim 7, the model was fitted on dim 8"):
        rewards_of_new(model, rows[:1, :7])
