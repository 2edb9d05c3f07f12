"""What a fitted method costs to use: its parameters, and the time to adapt users."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import draw_shots
from lore_jax.evaluation.stopwatch import milliseconds
from lore_jax.methods.base import BasisPredictor, Predictor
from lore_jax.model.posterior import Posterior


def num_parameters(predictor: Predictor) -> int:
    """How many numbers all users share: what must be stored to predict for a new one.

    The users of the fit do not count, nor does how well a number is known.

    Args:
        predictor: a basis (its columns, the prior, the effects of responses), a network (its
            `params`), or any other predictor: the floating-point numbers that it holds.

    Returns:
        The number.

    Example:
        >>> from lore_jax.methods.base import BasisPredictor
        >>> num_parameters(BasisPredictor(model)) == model.rank * 8 + model.rank * model.rank
        True
    """
    held: object = getattr(predictor, "params", vars(predictor))
    if isinstance(predictor, BasisPredictor):
        effects = predictor.model.item_effects
        held = predictor.model.params, predictor.model.prior, effects and effects.values
    of_users = (Posterior, Preferences)
    leaves = jax.tree.leaves(held, is_leaf=lambda value: isinstance(value, of_users))
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray | jax.Array)]
    return sum(leaf.size for leaf in arrays if jnp.issubdtype(leaf.dtype, jnp.floating))


def adapt_milliseconds(
    predictor: Predictor, shots: Preferences, test: Preferences, users: int
) -> float:
    """Milliseconds to adapt some users to their shots and to predict one pair of each.

    Args:
        predictor: a fitted method.
        shots: of users, all of which are given.
        test: pairs of the same users; those without any are left out.
        users: how many; where there are fewer, they are repeated.

    Returns:
        The median of a few calls, without the first one, which compiles.

    Example:
        >>> from lore_jax.methods.base import BasisPredictor
        >>> adapt_milliseconds(BasisPredictor(model), shots, test, 100) > 0
        True
    """
    tested = np.flatnonzero(test.pairs_per_user())
    chosen = tested[np.arange(users) % len(tested)]
    given, asked = repeat_users(shots, chosen), repeat_users(draw_shots(test, 1, seed=0), chosen)

    def work() -> None:
        jax.block_until_ready(tuple(predictor.adapted(given, asked)))

    return milliseconds(work)


def repeat_users(prefs: Preferences, users: Int[np.ndarray, " users"]) -> Preferences:
    """The pairs of `users`, who may be repeated, numbered from 0 in the order given.

    Example:
        >>> repeated = repeat_users(prefs, np.array([3, 3]))
        >>> repeated.num_pairs == 2 * (prefs.user == 3).sum()
        np.True_
    """
    count = prefs.pairs_per_user()
    first = np.cumsum(count) - count
    begins = np.repeat(first[users] - (np.cumsum(count[users]) - count[users]), count[users])
    index = begins + np.arange(len(begins))
    names = ("chosen", "rejected", "prompt", "pair_weight", "row")
    columns = {name: getattr(prefs, name)[index] for name in names}
    user = np.repeat(np.arange(len(users), dtype=np.int32), count[users])
    return dataclasses.replace(prefs, user=user, num_users=len(users), user_ids=None, **columns)
