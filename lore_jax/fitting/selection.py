"""Choosing what a method leaves open, on validation folds of the preferences to be fitted alone."""

from __future__ import annotations

import jax
import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import FitConfig, default_repeats
from lore_jax.fitting.progress import Progress
from lore_jax.fitting.validation import Placed, SweepTable, fold_roles, place_for_sweeps, sweep
from lore_jax.methods.base import Choice
from lore_jax.parallel.devices import Devices


def choose(
    prefs: Preferences,
    config: FitConfig,
    *,
    key: jax.Array,
    devices: Devices | None = None,
    progress: Progress | None = None,
) -> tuple[Choice, tuple[SweepTable, ...]]:
    """What is given, and the rest by the mean log loss on held-out pairs, stage by stage.

    Ties go to the first candidate, which is the most regularised.

    Args:
        prefs: the pairs of the seen users.
        config: the method, and what validation mirrors.
        key: draws the folds and the initialisations.
        devices: where to run.
        progress: is told of every fit.

    Returns:
        The choice, and the tables it was made from (none if everything was given).

    Raises:
        ValueError: the method cannot fit these preferences, or there are too few groups for the
            folds.

    Example:
        >>> choose(prefs, FitConfig(BradleyTerryConfig(ridge=3.0)), key=jax.random.key(0))[0]
        {'ridge': 3.0}
    """
    winner: Choice = {}
    tables: list[SweepTable] = []
    placed: Placed | None = None
    for stage in config.method.stages(prefs):
        choices, variants = stage.choices(winner), stage.variants()
        if len(choices) * len(variants) == 1:
            winner = {**choices[0], **variants[0]}
            continue
        # Repeated are fits that take no steps: they cost little, and what they choose weighs most.
        repeated = stage.method.num_steps(choices) == 0
        roles = _roles(prefs, config, key, repeated=repeated)
        placed = placed or place_for_sweeps(prefs, stage.method, devices)
        tables.append(sweep(placed, stage, choices, roles, key=key, progress=progress))
        winner = tables[-1].settings[tables[-1].best]
    return winner, tuple(tables)


def _roles(
    prefs: Preferences, config: FitConfig, key: jax.Array, *, repeated: bool
) -> dict[str, np.ndarray]:
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    repeats = config.repeats or default_repeats(prefs)
    return fold_roles(
        prefs,
        config.folds,
        holdout=config.holdout,
        group_by=config.group_by,
        repeats=repeats if repeated else 1,
        seed=seed,
    )
