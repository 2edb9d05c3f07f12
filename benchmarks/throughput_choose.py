"""The benchmark's recommended fits: what choosing costs beside a fit with everything given."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import monitoring

import lore_jax as lore
from benchmarks.throughput_parts import HAS_TORCH, SEED, Row, Sizes, comparisons, pytorch_rows
from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import RIDGE_BRADLEY_TERRY, default_repeats
from lore_jax.methods.gaussian.candidates import RANKS

# users, pairs of each, prompts with eight replies, dim
SHAPES = ((1000, 45, 1600, 4096), (300, 20, 63, 384), (1000, 45, 1600, 1024), (4000, 20, 6250, 384))
SMOKE_SHAPES = ((20, 6, 8, 16),)

_COMPILATION = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Programs compiled since `reset`, and the seconds they took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILATION:
            self.seconds.append(duration_secs)

    def reset(self) -> None:
        """Forgets them."""
        self.seconds.clear()


def choose_section(size: Sizes, *, smoke: bool) -> Iterator[Row]:
    """What is chosen, beside the same fit with everything given."""
    compilations = Compilations()
    for users, pairs, prompts, dim in SMOKE_SHAPES if smoke else SHAPES:
        shape = dataclasses.replace(size, users=users, pairs=pairs, prompts=prompts, dim=dim)
        prefs, test = comparisons(shape, distinct=False)
        named = f"{users:,} users x {pairs}, {prefs.num_responses:,} responses, dim {dim}"
        # To see that it runs, one number is left open.
        few = lore.PopulationConfig(
            steps=5,
            rank=2,
            ridge_population=1.0,
            item_effects=0.0,
            item_effects_deviation=0.0,
            num_components=0,
            logit_scale=1.0,
        )
        population = lore.FitConfig(few, folds=2) if smoke else lore.FitConfig()
        if HAS_TORCH:
            method = few if smoke else lore.PopulationConfig()
            work = f"population model chosen, {named}"
            yield pytorch_row(work, prefs, method, population.folds, size.timed_steps)
        prefs = dataclasses.replace(prefs, embeddings=jnp.asarray(prefs.embeddings))
        for family, open_config in (
            ("population model", population),
            ("ridge BT", RIDGE_BRADLEY_TERRY),
        ):
            compilations.reset()
            first, choice, loss = _timed(prefs, test, open_config)
            programs, compiling = len(compilations.seconds), sum(compilations.seconds)
            again, *_ = _timed(prefs, test, open_config)
            method = dataclasses.replace(open_config.method, **choice)
            given = dataclasses.replace(open_config, method=method)
            _timed(prefs, test, given)
            seconds, _, losses = zip(*[_timed(prefs, test, given) for _ in range(3)], strict=True)
            alone, same = float(np.median(seconds)), losses[0]
            yield {
                "work": f"{family} given, {named}",
                "method": "lore_jax",
                "seconds": alone,
                "note": f"log loss of further choices {same:.4f}",
            }
            yield {
                "work": f"{family} chosen, {named}",
                "method": "lore_jax",
                "seconds": again,
                "note": f"{again / alone:.3g} x given; log loss {loss:.4f}; first call {first:.3g} "
                f"s, of which {compiling:.3g} s compile {programs} programs",
            }


def pytorch_row(
    work: str, prefs: Preferences, method: lore.PopulationConfig, folds: int, timed: int
) -> Row:
    """The same grids on the same folds in PyTorch, and the fit: few steps of each rank, multiplied.

    Every setting is fitted on every fold, in as many steps as here; those that take none here, for
    they are convex, in as many as the others. A fold's fit is timed on all pairs.
    """
    from benchmarks.pytorch_reference import vectorised_population

    steps: dict[int, int] = {}
    for stage in method.stages(prefs):
        choices = stage.choices({"rank": method.rank or max(RANKS)})
        repeats = default_repeats(prefs) if stage.method.num_steps(choices) == 0 else 1
        for choice in choices:
            rank, taken = int(choice["rank"]), getattr(stage.method, "steps", method.steps)
            steps[rank] = steps.get(rank, 0) + folds * repeats * taken
    steps[max(steps)] += method.steps
    given = np.asarray(prefs.embeddings), prefs.chosen, prefs.rejected, prefs.user
    rows = [
        row
        for rank, count in steps.items()
        for row in pytorch_rows(
            work, {f"rank {rank}": lambda r=rank: vectorised_population(*given, r)}, count, timed
        )
    ]
    return {
        "work": work,
        "method": "PyTorch, vectorised",
        "seconds": sum(row["seconds"] for row in rows),
        "note": "; ".join(f"{row['method']}: {row['note']}" for row in rows),
    }


def _timed(
    prefs: Preferences, test: Preferences, config: lore.FitConfig
) -> tuple[float, dict[str, float], float]:
    """Seconds of a fit, what was chosen, and the log loss of the test."""
    begun = time.perf_counter()
    model, users, history = lore.fit(prefs, config, key=jax.random.key(SEED))
    seconds = time.perf_counter() - begun
    loss = -float(np.mean(lore.margins(model, users, test).log_probability))
    return seconds, history.choice, loss
