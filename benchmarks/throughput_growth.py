"""The benchmark's growth: the time of a fit and of adapting against how much there is of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import lore_jax as lore
from benchmarks.throughput_parts import (
    ROW_NORM,
    SEED,
    Row,
    Sizes,
    comparisons,
    median_seconds,
    priors,
)
from lore_jax.data.preferences import Preferences
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model

_MIDDLE = Sizes(dim=1024, rank=4, users=1000, pairs=24, prompts=800)
_TIMES = (0.25, 0.5, 1.0, 2.0, 4.0)
_SMOKE_TIMES = (1.0, 2.0)
_VARIED = {
    "users": "users",
    "pairs": "pairs a user",
    "prompts": "responses",
    "dim": "dim",
    "rank": "rank",
}


def growth_section(size: Sizes, *, smoke: bool) -> Iterator[Row]:
    """Exponents: the slope of log seconds over log users, pairs of each, responses, dim, rank."""
    middle = dataclasses.replace(size, rank=2) if smoke else _MIDDLE
    for name, said in list(_VARIED.items())[: 1 if smoke else None]:
        counts, fits, adapts = [], [], []
        for times in _SMOKE_TIMES if smoke else _TIMES:
            if name == "rank" and times < 0.5:
                continue  # rank 1 is another program: nobody deviates
            count = round(times * getattr(middle, name))
            prefs, _ = comparisons(dataclasses.replace(middle, **{name: count}), distinct=False)
            prefs = dataclasses.replace(prefs, embeddings=jnp.asarray(prefs.embeddings))
            rank = count if name == "rank" else middle.rank
            counts.append(count * 8 if name == "prompts" else count)
            fits.append(fit_seconds(prefs, rank, steps=size.timed_steps * 10))
            adapts.append(adapt_seconds(prefs, rank))
        for work, seconds in (("fit, everything given", fits), ("adapt", adapts)):
            each = ", ".join(f"{1e3 * value:.3g}" for value in seconds)
            note = f"grows as {said} to the power {exponent(counts, seconds):.2f}: {each} ms"
            yield {
                "work": f"{work}, {counts[0]:,} to {counts[-1]:,} {said}",
                "method": "lore_jax",
                "seconds": seconds[-1],
                "note": note,
            }


def exponent(counts: list[int], seconds: list[float]) -> float:
    """The least-squares slope of log seconds over log counts.

    Example:
        >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 6)
        2.0
    """
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])


def fit_seconds(prefs: Preferences, rank: int, *, steps: int) -> float:
    """Of the population model with everything given."""
    method = lore.PopulationConfig(
        steps=steps,
        rank=rank,
        ridge_population=3.0,
        ridge_deviation=3.0,
        item_effects=0.5,
        item_effects_deviation=0.0,
        num_components=0,
        logit_scale=1.0,
    )
    config, key = lore.FitConfig(method), jax.random.key(SEED)
    return median_seconds(lambda: lore.fit(prefs, config, key=key)[1].weights, 3)


def adapt_seconds(prefs: Preferences, rank: int) -> float:
    """Of all users, the basis applied inside."""
    directions = np.random.default_rng(SEED).standard_normal((prefs.dim, rank), np.float32)
    params = {"V": jnp.asarray(directions)}
    model = Model(LinearBasis(rank), params, jnp.float32(ROW_NORM), priors(rank)["gaussian"])
    return median_seconds(lambda: lore.adapt(model, prefs).weights, 3)
