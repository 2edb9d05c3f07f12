"""A small split to compare methods on, and methods that spy, refuse or diverge."""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation.comparison import ComparisonConfig, compared_split
from lore_jax.fitting.roster import Entry
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.simplex.method import SimplexConfig

CONFIG = ComparisonConfig(shots=(0, 5), user_shares=(0.5,))


@functools.cache
def small_split():
    """40 users, 30 % of them unseen, 20 pairs of each; prompts held out."""
    prefs = synthetic(
        SyntheticConfig(
            num_users=40,
            num_prompts=50,
            responses_per_prompt=3,
            pairs_per_user=(20, 20),
            dim=8,
            rank=3,
        ),
        seed=0,
    ).prefs
    return compared_split(lore.four_way(prefs, group_by="prompt", seed=0), "new items", None)


def entry(method, **more):
    """A method as an entry of a roster; smoke or not, it is fitted as it is."""
    return Entry("", "", lambda prefs: method, lambda prefs: method, **more)


class Spying:
    """Notes all that a method is given, by the name of its class."""

    seen: typing.ClassVar[dict] = {}

    def _note(self, what, value):
        Spying.seen.setdefault((type(self).__name__, what), []).append(value)

    def stages(self, prefs):
        self._note("prefs", prefs)
        return super().stages(prefs)

    def input_scale(self, prefs):
        self._note("prefs", prefs)
        return super().input_scale(prefs)

    def hypers(self, choices, prefs):
        self._note("prefs", prefs)
        return super().hypers(choices, prefs)

    def export(self, fitted, layout, prefs):
        self._note("prefs", prefs)
        return super().export(fitted, layout, prefs)

    def init(self, data, hyper, *, key):
        jax.debug.callback(functools.partial(self._note, "table"), data.embeddings)
        return super().init(data, hyper, key=key)

    def predict(self, fitted, data, fold, hyper):
        roles = [(bucket.fit, bucket.shots, bucket.test) for bucket in fold]
        jax.debug.callback(functools.partial(self._note, "fold"), roles)
        return super().predict(fitted, data, fold, hyper)


@dataclasses.dataclass(frozen=True)
class SpyingBradleyTerry(Spying, BradleyTerryConfig):
    pass


@dataclasses.dataclass(frozen=True)
class SpyingSimplex(Spying, SimplexConfig):
    pass


@dataclasses.dataclass(frozen=True)
class Diverging(BradleyTerryConfig):
    """Its direction is not a number."""

    def init(self, data, hyper, *, key):
        state = super().init(data, hyper, key=key)
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), state)


@dataclasses.dataclass(frozen=True)
class Refusing(BradleyTerryConfig):
    """It cannot be fitted to anything."""

    def stages(self, prefs):
        raise ValueError("pairs that several users judged are needed, and there are none")


@dataclasses.dataclass(frozen=True)
class TooLarge(BradleyTerryConfig):
    """It asks for more memory than there is."""

    def input_scale(self, prefs):
        raise MemoryError("Unable to allocate 9 TiB\nfor an array")


def without_seconds(results):
    """Results without what a clock has measured."""
    clocks = ("seconds", "compile_seconds", "adapt_one_ms", "adapt_thousand_ms")
    fits = [{**fit, **dict.fromkeys(clocks)} for fit in results["fits"]]
    return {**results, "fits": fits}


def fold_marks(folds):
    """Each fold as bytes, so that sets of them can be compared."""
    return {
        b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fold)) for fold in folds
    }
