"""A learning curve over users: fits of a quarter and of half of them, tested as the whole fit is.

Every user takes part in one of four fits of a quarter and in one of two fits of a half, so that the
noise of who is drawn averages out, and is known. Settings are those of the whole fit.
"""

from __future__ import annotations

import jax
import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.schema import CurveRow
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor

_PARTS = (4, 2)  # into how many parts users are divided, each of which is fitted
_FEWEST = 12  # users


def learning_curve(
    train: Preferences,
    config: FitConfig,
    condition: Condition,
    *,
    method: str,
    shots: int,
    group_by: GroupBy = "prompt",
    data: str = "",
    split: int = 0,
    seed: int,
    key: jax.Array,
) -> list[CurveRow]:
    """Fits parts of the users, and tests each fit on unseen users.

    Args:
        train: the pairs that the whole fit was made of.
        config: the method with everything chosen.
        condition: unseen users, to test on.
        method: its name, for the rows.
        shots: of the unseen users.
        group_by: what an item is.
        data: name of the data set, for the rows.
        split: number of the split, for the rows.
        seed: draws the parts and the shots; give that of the whole fit's evaluation.
        key: the source of randomness of the fits.

    Returns:
        Six rows; that of the whole fit is among those of `evaluate`.

    Raises:
        ValueError: there are fewer than 12 users.

    Example:
        >>> rows = learning_curve(train, config, condition, **about)  # doctest: +SKIP
        >>> [row["fitted_users"] for row in rows]  # doctest: +SKIP
        [50, 50, 50, 50, 100, 100]
    """
    if train.num_users < _FEWEST:
        raise ValueError(
            f"there are {train.num_users} users in the fit: a learning curve needs {_FEWEST}"
        )
    order = np.random.default_rng(seed).permutation(train.num_users)
    rows: list[CurveRow] = []
    for parts in _PARTS:
        for draw, users in enumerate(np.array_split(order, parts)):
            predictor, _ = fit_predictor(train.take_users(np.sort(users)), config, key=key)
            (row,) = (
                row
                for row in evaluate(
                    {method: predictor},
                    [condition],
                    shots=(shots,),
                    group_by=group_by,
                    data=data,
                    split=split,
                    seed=seed,
                )
                if row["control"] is None
            )
            rows.append({**row, "fitted_users": len(users), "parts": parts, "draw": draw})
    return rows
