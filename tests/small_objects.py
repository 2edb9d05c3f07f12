"""Small synthetic objects, made once a process: for examples in docstrings and checks of shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from lore_jax.data.answer_kinds import Kind
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.datasets.synthetic_feedback import synthetic_feedback

CONFIG = SyntheticConfig(
    num_users=40, num_prompts=50, responses_per_prompt=3, pairs_per_user=(20, 20), dim=8, rank=3
)
KINDS = {
    Kind("pair", 2, levels=2): 4,
    Kind("tie", 2, levels=3): 4,
    Kind("strength", 2, levels=5): 4,
    Kind("ranking", 3, places=2): 3,
    Kind("rating", 1, levels=5): 6,
}
QUICK = lore.FitConfig(
    lore.PopulationConfig(
        rank=3,
        ridge_population=1.0,
        ridge_deviation=1.0,
        item_effects=0.0,
        item_effects_deviation=0.0,
        num_components=0,
        logit_scale=1.0,
    )
)


@functools.cache
def small_objects():
    """The names that examples may use: modules, the public names, and a split, a fit and users."""
    truth = synthetic(CONFIG, seed=0)
    prefs = truth.prefs
    split = lore.four_way(prefs, group_by="prompt", seed=0)
    model, users, history = lore.fit(split.train, QUICK, key=jax.random.key(0))
    return {
        **{name: getattr(lore, name) for name in lore.__all__},
        "np": np,
        "jnp": jnp,
        "jax": jax,
        "lore": lore,
        "prefs": prefs,
        "split": split,
        "model": model,
        "users": users,
        "history": history,
        "feedback": synthetic_feedback(truth, KINDS, responses_per_prompt=3, seed=0).feedback,
        "shots": split.shots,
        "test": split.tests["unseen", "new items"],
        "posterior": lore.adapt(model, split.shots),
    }
