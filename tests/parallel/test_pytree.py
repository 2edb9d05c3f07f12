import importlib
import pkgutil

import jax
import jax.numpy as jnp
import pytest

import lore_jax
from lore_jax.model.mean_prior import GaussianMeanPrior
from lore_jax.model.prior import GaussianPrior
from lore_jax.parallel.pytree import pytree, static


@pytree
class Pair:
    left: float
    right: float
    name: str = static(default="pair")


@pytree
class SamePair:
    left: float
    right: float
    name: str = static(default="pair")


def classes():
    """Every class that the package defines."""
    for module in pkgutil.walk_packages(lore_jax.__path__, "lore_jax."):
        if not module.name.endswith("__main__"):
            found = vars(importlib.import_module(module.name)).values()
            yield from (x for x in found if isinstance(x, type) and x.__module__ == module.name)


def test_children_static_fields_and_paths():
    pair = Pair(1.0, 2.0, name="other")
    assert jax.tree.leaves(pair) == [1.0, 2.0]
    assert jax.tree.map(lambda leaf: leaf + 1.0, pair) == Pair(2.0, 3.0, name="other")
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(pair)]
    assert paths == [".left", ".right"]
    assert jax.tree.structure(pair) != jax.tree.structure(Pair(1.0, 2.0))
    assert jax.tree.structure(pair) == jax.tree.structure(Pair(3.0, 4.0, name="other"))
    assert pair.replace(left=0.0) == Pair(0.0, 2.0, name="other")
    with pytest.raises(AttributeError):
        pair.left = 0.0


def test_two_classes_are_never_equal_trees():
    one, other = (jax.tree.structure(cls(1.0, 2.0)) for cls in (Pair, SamePair))
    assert one != other
    assert jax.tree.structure(Pair(1.0, 2.0)) != jax.tree.structure((1.0, 2.0))


def test_priors_of_modes_and_of_means_are_told_apart():
    trees = [
        jax.tree.structure(prior(jnp.ones(2), jnp.eye(2)))
        for prior in (GaussianPrior, GaussianMeanPrior)
    ]
    assert trees[0] != trees[1]


def test_no_class_of_the_package_is_registered_another_way():
    """`register_dataclass`, which Flax's decorator calls, makes trees of two classes equal."""
    dataclasses = [cls for cls in classes() if hasattr(cls, "__dataclass_fields__")]
    assert GaussianPrior in dataclasses
    assert not [cls for cls in dataclasses if hasattr(cls, "_flax_dataclass")]
