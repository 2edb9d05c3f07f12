"""Adapting to answers as a program: what `adapt_answers` says of the same answers."""

import jax.export
import numpy as np
import pytest
from small_objects import small_objects

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import answers, from_answers
from lore_jax.export.stablehlo_answers import export_adapt_answers
from lore_jax.model.answer_model import begin_answers
from lore_jax.users.answering import adapt_answers

COUNT, USERS = 3, 5


@pytest.mark.parametrize("name", ["tie", "rating", "ranking"])
def test_the_program_says_what_the_library_says(name, tmp_path):
    objects = small_objects()
    feedback = objects["feedback"]
    how, model = begin_answers(feedback), objects["model"].replace(item_effects=None)
    kind = next(block.kind for block in feedback.blocks if block.kind.name == name)
    path = export_adapt_answers(
        tmp_path / "adapt", model, how, kind, count=COUNT, platforms=["cpu"]
    )
    rng = np.random.default_rng(0)
    shape, responses = (USERS, COUNT), len(feedback.embeddings)
    items = np.array([rng.permutation(responses)[: kind.num_items] for _ in range(USERS * COUNT)])
    items = items.reshape(*shape, -1).astype(np.int32)
    outcome = rng.integers(max(kind.levels, 1), size=shape).astype(np.int32)
    weight = (np.arange(COUNT) < rng.integers(COUNT + 1, size=(USERS, 1))).astype(np.float32)
    weight[0] = 0.0
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    found = program.call(np.asarray(feedback.embeddings), items, outcome, weight)
    given = weight > 0
    levels = outcome[given] if kind.levels else None
    said = [answers(kind, items[given], np.nonzero(given)[0], outcome=levels)]
    same = from_answers(feedback.embeddings, said, num_users=USERS)
    known = adapt_answers(model, how, same)
    expected = {field: getattr(known.users, field) for field in ("weights", "covariance", "shots")}
    if name == "rating":
        fields = ("intercept", "intercept_variance", "intercept_covariance")
        expected |= {field: getattr(known, field) for field in fields}
    assert set(found) - set(expected) == {"converged", "steps", "grad_norm"}
    for field, values in expected.items():
        np.testing.assert_allclose(found[field], values, atol=1e-4)


def test_what_cannot_be_exported_is_refused(tmp_path):
    objects = small_objects()
    how = begin_answers(objects["feedback"])
    with pytest.raises(ValueError, match="count is 0: 1 or more is expected"):
        export_adapt_answers(
            tmp_path / "a", objects["model"], how, Kind("tie", 2, levels=3), count=0
        )
    with pytest.raises(ValueError, match="no scale 'rating 9'"):
        export_adapt_answers(
            tmp_path / "a", objects["model"], how, Kind("rating", 1, levels=9), count=2
        )
    assert not list(tmp_path.iterdir())
