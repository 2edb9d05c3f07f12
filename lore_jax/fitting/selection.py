"""Choosing rank, ridges and the like on validation folds of the preferences to be fitted, and on
nothing else.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import NUM_COMPONENTS, FitConfig, default_group_by, make_basis
from lore_jax.fitting.validation import (
    GaussianPipeline,
    SimplexPipeline,
    SweepTable,
    fold_roles,
    sweep,
)
from lore_jax.methods.gaussian.laplace_em import PopulationConfig, PopulationHyper
from lore_jax.methods.simplex.joint_fit import SimplexHyper
from lore_jax.model.model import rms_row_norm
from lore_jax.parallel.devices import Devices

# Candidates, the most regularised first: that is how ties are broken.
_SIMPLEX_RANKS = (1, 2, 5, 10)
_GAUSSIAN_RANKS = (1, 9)
_RIDGES_POPULATION = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
_RIDGES_DEVIATION = (30.0, 10.0, 3.0, 1.0)
_ITEM_EFFECTS = (0.0, 1.0, 2.0)
_LOGIT_SCALES = (1.0, 1.15, 1.3, 1.5, 1.75)
_QUICK = PopulationConfig(
    steps=60, learning_rate=0.1
)  # ends within noise of the full fit; enough to choose by

Choice = dict[str, float]


def choose(
    prefs: Preferences, config: FitConfig, *, key: jax.Array, devices: Devices | None = None
) -> tuple[Choice, tuple[SweepTable, ...]]:
    """Rank, ridges, item effects, components and logit_scale: those given, the others by the mean log loss
    on held-out pairs.

    Gaussian family, in two sweeps: the population's ridge and the responses' terms while nobody
    deviates (a convex problem), then rank, the deviations' ridge, and either the logit_scale or the
    number of components. Ties go to the lower rank, the larger ridge, the least logit_scale and the fewest
    components.

    Args:
        prefs: the pairs of the seen users.
        config: what is given, and what validation mirrors.
        key: draws the folds and the initialisations.
        devices: where to run.

    Returns:
        The choice, and the tables it was made from (none if everything was given).

    Raises:
        ValueError: there are too few groups for the folds.

    Example:
        >>> choose(prefs, FitConfig(rank=9, ridge_deviation=10.0), key=jax.random.key(0))[0]
        {'rank': 9, 'ridge_population': 10.0, 'ridge_deviation': 10.0, 'item_effects': 1.0,
        'num_components': 0, 'logit_scale': 1.15}
    """
    simplex = config.family == "simplex"
    ranks = (
        (config.rank,)
        if config.rank is not None
        else (_SIMPLEX_RANKS if simplex else _GAUSSIAN_RANKS)
    )
    ranks = [rank for rank in ranks if rank <= prefs.dim or config.hidden]
    return (_choose_simplex if simplex else _choose_gaussian)(prefs, config, ranks, key, devices)


def gaussian_hyper(choice: Choice, columns: int) -> PopulationHyper:
    """The traced hyper-parameters of a choice for a basis of `columns` columns; those beyond its
    rank are masked.
    """
    names = ("ridge_population", "ridge_deviation", "item_effects")
    return PopulationHyper(
        **{name: jnp.float32(choice[name]) for name in names},
        columns=_mask(choice["rank"], columns)[1:],
    )


def simplex_hyper(choice: Choice, columns: int, head: np.ndarray | None) -> SimplexHyper:
    """The traced hyper-parameters of a choice for a basis of `columns` columns; those beyond its
    rank are masked.
    """
    return SimplexHyper(_mask(choice["rank"], columns), None if head is None else jnp.asarray(head))


def _choose_gaussian(
    prefs: Preferences, config: FitConfig, ranks: list[int], key: jax.Array, devices: Devices | None
) -> tuple[Choice, tuple[SweepTable, ...]]:
    def candidates(given: float | None, values: tuple[float, ...]) -> tuple[float, ...]:
        return values if given is None else (given,)

    def stage(
        grid: list[Choice], num_components: tuple[int, ...], logit_scales: tuple[float, ...]
    ) -> SweepTable:
        width = int(max(choice["rank"] for choice in grid))
        pipeline = GaussianPipeline(make_basis(config, width), _QUICK, components, logit_scales)
        hypers = [gaussian_hyper(choice, width) for choice in grid]
        scale, roles = rms_row_norm(prefs.embeddings), _roles(prefs, config, key)
        return sweep(prefs, scale, pipeline, grid, hypers, roles, key=key, devices=devices)

    ridges_deviation = candidates(config.ridge_deviation, _RIDGES_DEVIATION)
    logit_scales = candidates(config.logit_scale, _LOGIT_SCALES)
    deviating = [rank for rank in ranks if rank > 1]
    tables = []
    grid: list[Choice] = [
        {
            "rank": 1,
            "ridge_population": ridge,
            "ridge_deviation": ridges_deviation[0],
            "item_effects": terms,
        }
        for ridge, terms in itertools.product(
            candidates(config.ridge_population, _RIDGES_POPULATION),
            candidates(config.item_effects, _ITEM_EFFECTS),
        )
    ]
    components = (0,)
    if deviating:
        if len(grid) > 1:
            tables.append(stage(grid, (0,), logit_scales[:1]))
            grid = [grid[tables[0].best]]
        settings = itertools.product(deviating, ridges_deviation)
        # Nobody deviates, among the settings where users do: it wins where they do not differ.
        grid = grid[: ranks.count(1)] + [
            {**grid[0], "rank": rank, "ridge_deviation": ridge} for rank, ridge in settings
        ]
        components = NUM_COMPONENTS if config.num_components is None else (config.num_components,)
    if len(grid) * len(components) * len(logit_scales) == 1:
        return {**grid[0], "num_components": components[0], "logit_scale": logit_scales[0]}, tuple(
            tables
        )
    tables.append(stage(grid, components, logit_scales))
    return tables[-1].settings[tables[-1].best], tuple(tables)


def _choose_simplex(
    prefs: Preferences, config: FitConfig, ranks: list[int], key: jax.Array, devices: Devices | None
) -> tuple[Choice, tuple[SweepTable, ...]]:
    grid: list[Choice] = [{"rank": rank} for rank in ranks]
    if len(grid) == 1:
        return grid[0], ()
    width = max(ranks)
    pipeline = SimplexPipeline(make_basis(config, width), config.simplex, prefs.num_users)
    hypers = [simplex_hyper(choice, width, prefs.head) for choice in grid]
    roles = _roles(prefs, config, key)
    table = sweep(
        prefs, config.simplex.input_scale, pipeline, grid, hypers, roles, key=key, devices=devices
    )
    return grid[table.best], (table,)


def _roles(prefs: Preferences, config: FitConfig, key: jax.Array) -> dict[str, np.ndarray]:
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    group_by = config.group_by or default_group_by(prefs, config.folds)
    return fold_roles(prefs, config.folds, holdout=config.holdout, group_by=group_by, seed=seed)


def _mask(rank: float, columns: int) -> jax.Array:
    return jnp.asarray(np.arange(columns) < rank, jnp.float32)
