"""Small problems for the joint fits, and one way to run a fit on any number of devices."""

import functools

import jax
import numpy as np

from lore_jax.data.preferences import from_arrays
from lore_jax.methods.base import Info
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.parallel.devices import over_shards, place, split

GIVEN = PopulationConfig(
    rank=3,
    ridge_population=1.0,
    ridge_deviation=2.0,
    item_effects=0.5,
    item_effects_deviation=0.5,
    num_components=0,
    logit_scale=1.2,
    steps=20,
    learning_rate=0.1,
)


def problem(seed=0, *, users=21, responses=40, dim=6, scale=1.0):
    """Ragged users with weighted pairs, in two buckets; user 3 has no pairs, those of user 5 weigh
    nothing.
    """
    rng = np.random.default_rng(seed)
    count = rng.choice([3, 4, 5, 7], users)
    count[3] = 0
    user = np.repeat(np.arange(users), count)
    chosen = rng.integers(responses, size=len(user))
    rejected = (chosen + rng.integers(1, responses, size=len(user))) % responses
    weight = np.where(user == 5, 0.0, rng.uniform(0.5, 2.0, len(user)))
    table = scale * rng.normal(size=(responses, dim)).astype(np.float32)
    return from_arrays(
        table,
        chosen,
        rejected,
        user,
        pair_weight=weight,
        num_users=users,
        head=rng.normal(size=dim),
    )


def differences(prefs):
    """Chosen minus rejected, `[pairs, dim]` in float64: what the library never forms."""
    table = np.asarray(prefs.embeddings, np.float64)
    return table[prefs.chosen] - table[prefs.rejected]


def shard_copies(tree, devices):
    """A copy of every leaf for each shard, `[shards, ...]`, each on its device."""

    def copy(leaf):
        leaf = np.asarray(leaf)
        return split(np.broadcast_to(leaf, (len(devices), *leaf.shape)), devices)

    return jax.tree.map(copy, tree)


def run(
    fit,
    config,
    module,
    begin,
    start,
    prefs,
    hyper,
    *,
    input_scale=1.0,
    devices=1,
    mapping="jit",
    steps=5,
):
    """Runs some steps of a fit; returns the state (NumPy, leading shard axis), the history (an
    `Info` of arrays `[steps]`) and the layout.

    `begin((shared, by_user), data, hyper)` makes a shard's state from what all shards share, arrays
    of any shape, and what each user has, `[num_users, ...]` or None, both given as `start`.
    """
    devices = jax.devices()[:devices]
    data, layout = place(prefs, input_scale, devices)
    shared, by_user = start
    spread = None if by_user is None else layout.spread(by_user)
    spread = jax.tree.map(lambda values: split(values, devices), spread)
    state = over_shards(begin, mapping, donate=False, devices=devices)(
        (shard_copies(shared, devices), spread), data, hyper
    )
    step = functools.partial(fit.step, module=module, config=config)
    step = over_shards(step, mapping, devices=devices)
    history = []
    for _ in range(steps):
        state, info = step(state, data, hyper)
        history.append(Info(*(float(values[0]) for values in info)))
    history = Info(*(np.array([getattr(info, name) for info in history]) for name in Info._fields))
    return jax.tree.map(np.asarray, state), history, layout
