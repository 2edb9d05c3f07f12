"""P-RLHF against NumPy; groups of users are told apart by a few shots; settings are checked."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_networks import (
    SMALL,
    accuracy_of_bradley_terry,
    accuracy_of_unseen,
    groups_of_users,
    of_user,
    p_rlhf_margins,
    perturbed,
    some_pairs,
    some_table,
)


@pytest.mark.parametrize("clusters", [0, 3])
def test_margins_equal_the_formula(clusters):
    method = dataclasses.replace(SMALL, clusters=clusters)
    params = perturbed(method.init_params(6, key=jax.random.key(0)))
    assert ("clusters" in params) == (clusters > 0)
    table, pairs = some_table(), of_user(some_pairs(), 0)
    user = jnp.asarray(np.random.default_rng(1).normal(size=method.vector_size), jnp.float32)
    got = method.vector_margins(params, method.rows(params, table, 2.0), user, pairs)
    np.testing.assert_allclose(got, p_rlhf_margins(params, table, user, pairs), atol=1e-5)


@pytest.mark.parametrize("clusters", [0, 4])
def test_groups_of_users_are_told_apart(clusters):
    split = groups_of_users()
    method = dataclasses.replace(SMALL, clusters=clusters)
    _, (generic, after) = accuracy_of_unseen(split, method, (0, 20))
    assert after > accuracy_of_bradley_terry(split) + 0.03
    assert after > generic


@pytest.mark.parametrize(
    ("field", "value", "expected"), [("size", 0, 1), ("width", 0, 1), ("clusters", -1, 0)]
)
def test_impossible_settings_are_refused(field, value, expected):
    message = f"{field} is {value}: {expected} or more is expected"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **{field: value})
