"""What an evaluation makes has the fields that its types name, all of them and no others."""

from typing import NotRequired, get_origin, get_type_hints

import numpy as np
import pytest
from scored import Scored
from synthetic_disagreement import random_users
from synthetic_results import by_shots, preferences, split_entry, toy_results

from lore_jax.evaluation import schema
from lore_jax.evaluation.conclusion import conclude
from lore_jax.evaluation.diagnostics import diagnose
from lore_jax.evaluation.disagreement import describe_axes, with_texts
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.results import Where, make_results
from lore_jax.model.posterior import population_posterior


@pytest.fixture(scope="module")
def made():
    """Names of types to an example of each, as the library makes it."""
    condition = Condition("unseen", "new items", preferences(0), preferences(1))
    rows = evaluate({"m": Scored(by_shots)}, [condition], shots=(0, 3), seed=0)
    results = make_results(rows, [split_entry()], name="t", config={}, seed=0)
    model, weights, table = random_users()
    users = population_posterior(model, len(weights)).replace(weights=weights)
    axes = describe_axes(model, {"seen users": users}, table)
    axes = with_texts(axes, [("prompt", "text")] * len(table))
    return {
        "Row": rows[0],
        "ConfidenceCounts": rows[0]["calibration"],
        "Influences": rows[0]["per_item"],
        "SplitEntry": results["splits"][0],
        "Results": results,
        "Machine": results["machine"],
        "AxesEntry": axes,
        "AxisEntry": axes["axes"][0],
        "EndEntry": axes["axes"][0]["high"][0],
        "Diagnostics": diagnose(model, users, table),
        "Conclusion": conclude(toy_results(0.0, 0), Where("unseen", "new items", "m", shots=20)),
    }


def test_what_is_made_has_the_fields_of_its_type(made):
    for name, value in made.items():
        fields = get_type_hints(getattr(schema, name), include_extras=True)
        required = {key for key, hint in fields.items() if get_origin(hint) is not NotRequired}
        assert required <= value.keys() <= fields.keys(), name


def test_per_user_values_are_one_a_user(made):
    values = made["Row"]["per_user"]
    assert set(values) == {"accuracy", "log_loss", "brier", "first_step"}
    assert {np.shape(array) for array in values.values()} == {(9,)}
