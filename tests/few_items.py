"""Users who judge the same few responses, and nearest users fitted to them."""

import jax
from joint_fit import problem

from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.rivals.nearest_users import NearestUsersConfig


def few_items(seed=0, users=21):
    """Users who judge 6 responses; user 3 has no pairs, those of user 5 weigh nothing."""
    return problem(seed, users=users, responses=6)


def nearest_users(prefs, kappa=3.0, devices=1):
    config = FitConfig(NearestUsersConfig(kappa=kappa))
    key, devices = jax.random.key(0), jax.devices()[:devices]
    return fit_predictor(prefs, config, key=key, devices=devices)[0]
