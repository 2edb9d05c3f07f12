"""The containers of a real fit hold what their annotations say, and the checks find errors."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int
from shapes import check_fields, checked, containers_in
from small_objects import small_objects

import lore_jax as lore
from lore_jax.export.parquet import hash_user_ids
from lore_jax.parallel.buckets import lay_out
from lore_jax.parallel.devices import place

# Containers that hold numbers, names and other containers only.
WITHOUT_ARRAYS = {"Dropped", "Kind", "LinearBasis", "Logistic"}
NOT_YET = {"FourWay", "Layout", "Preferences"}


@functools.cache
def containers():
    """The containers of a split, a fit, a layout and a prediction, by the names of their types."""
    small = small_objects()
    model, posterior, test = small["model"], small["posterior"], small["test"]
    made = [
        *small.values(),
        lore.margins(model, posterior, test),
        lore.rewards(model, test.embeddings),
        lay_out(small["prefs"], shards=2),
        place(small["prefs"], 1.0, jax.devices()[:1]),
    ]
    found = {}
    for container in containers_in(made):
        found.setdefault(type(container).__name__, []).append(container)
    return found


def test_every_container_holds_what_its_annotations_say():
    found = {name: some for name, some in containers().items() if not name.endswith("Config")}
    counts = {name: sum(map(check_fields, some)) for name, some in found.items()}
    assert {"Preferences", "Model", "Posterior", "UserBucket", "FitData"} <= counts.keys()
    assert {name for name, count in counts.items() if not count} <= WITHOUT_ARRAYS | NOT_YET


class Pair(NamedTuple):
    unknown: "pd.DataFrame | Float[np.ndarray, '9']"
    weights: Float[np.ndarray, "users rank"]
    shots: Int[np.ndarray, " users"] | None
    name: str = ""


def test_axes_of_one_name_are_equally_long():
    assert check_fields(Pair(0, np.ones((3, 2)), np.zeros(3, int))) == 3
    assert check_fields(Pair(0, np.ones((3, 2)), None)) == 3
    with pytest.raises(AssertionError, match=r"Pair.shots is ndarray int64 \[4\]: .*users"):
        check_fields(Pair(0, np.ones((3, 2)), np.zeros(4, int)))
    with pytest.raises(AssertionError, match=r"Pair.weights is ndarray int64 \[3, 2\]"):
        check_fields(Pair(0, np.ones((3, 2), int), None))


@checked
def product(a: Float[Array, "rows inner"], b: Float[Array, "inner columns"], flip: bool = False):
    return (a @ b).T if flip else a @ b


product.__wrapped__.__annotations__["return"] = Float[Array, "rows columns"]


def test_arguments_and_results_are_checked_also_while_traced():
    a, b = jnp.ones((2, 3)), jnp.ones((3, 4))
    assert jax.jit(product)(a, b).shape == (2, 4)
    assert jax.vmap(product, (0, None))(a[None], b).shape == (1, 2, 4)
    with pytest.raises(AssertionError, match=r"product: b is \w+ float32 \[4, 3\]"):
        product(a, b.T)
    with pytest.raises(AssertionError, match=r"product: the result is \w+ float32 \[4, 2\]"):
        jax.jit(product, static_argnums=2)(a, b, True)


def test_the_package_is_checked():
    assert hasattr(hash_user_ids, "__wrapped__")
