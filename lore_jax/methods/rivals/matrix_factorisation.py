"""Users x items factors, without text: what a response is known by is who preferred it.

    z = (b + F d_u)[chosen] - (b + F d_u)[rejected],      d_u ~ N(0, I)

b is a response's effect on everybody, F its factors. It is the population model (`gaussian`) on a
table that says nothing: there every response has its own effects in the rewards and in the columns
of the deviations, `b ~ N(0, 1 / 2 ridge_effects)` and F's columns likewise, and those are all there
is. So it is fitted by the same Laplace EM (F starts as `item_factors` says), and a new user is
folded in by the mode given the shots.

A response is recognised by its embedding, wherever it stands in a table. One that was in no pair of
the fit has effect and factors 0: pairs of two such responses are a coin. So this is for known items
alone; with `holdout="new items"` validation itself sees coins.

Reference:
    Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems" (biases
    and factors); Salakhutdinov and Mnih 2008 (Gaussian priors).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import BasisPredictor, Choice, FoldWeights, Info, Prediction, Stage
from lore_jax.methods.checks import check_at_least, check_positive
from lore_jax.methods.defaults import WholeTable, columns_in_use
from lore_jax.methods.gaussian.laplace_em import PopulationHyper, PopulationState
from lore_jax.methods.gaussian.method import PopulationConfig, PopulationFit
from lore_jax.methods.rivals.item_factors import blank, with_factors
from lore_jax.parallel.buckets import FitData, Layout

RIDGES_EFFECTS = (3.0, 1.0, 0.3, 0.1)
RIDGES_FACTORS = (30.0, 10.0, 3.0, 1.0)
RANKS = (2, 4)
MOST_RESPONSES = 4096  # of a table: the start takes the identity of their number

_SELECTION = {"steps": 60, "learning_rate": 0.1}  # enough to choose by


@dataclasses.dataclass(frozen=True)
class MatrixFactorisationConfig(WholeTable):
    """Effects and factors of responses, without text; None: chosen on validation.

    Attributes:
        rank: how many factors; 0: everybody is alike.
        ridge_effects: ridge on the effects, in units of pairs.
        ridge_factors: ridge on the factors, in units of pairs.
        steps: of the M step.
        learning_rate: Adam's, at the start.

    Example:
        >>> MatrixFactorisationConfig(rank=2, steps=5).num_steps([{"rank": 2}])
        5
    """

    rank: int | None = None
    ridge_effects: float | None = None
    ridge_factors: float | None = None
    steps: int = 100
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        check_positive(self, "ridge_effects", "ridge_factors", "steps", "learning_rate")
        if self.rank is not None:
            check_at_least(self, 0, "rank")

    @property
    def loss_unit(self) -> str:
        """As of the population model."""
        return self._population.loss_unit

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The effects while everybody is alike, a convex problem; then the factors.

        Raises:
            ValueError: the table has too many responses, or fewer columns than factors.
        """
        if prefs.num_responses > MOST_RESPONSES:
            raise ValueError(
                f"the table has {prefs.num_responses:,} responses: matrix factorisation takes at "
                f"most {MOST_RESPONSES:,}"
            )
        if self.rank is not None and self.rank > prefs.dim:
            raise ValueError(f"rank is {self.rank}: 0 to {prefs.dim} is expected")
        of_factors = RIDGES_FACTORS if self.ridge_factors is None else (self.ridge_factors,)
        of_effects = RIDGES_EFFECTS if self.ridge_effects is None else (self.ridge_effects,)
        ranks = [rank for rank in RANKS if rank <= prefs.dim]
        effects: list[Choice] = [
            {"rank": 0, "ridge_effects": ridge, "ridge_factors": of_factors[0]}
            for ridge in of_effects
        ]
        factors: list[Choice] = [{"rank": 0, "ridge_factors": of_factors[0]}]
        if self.rank is not None:
            factors, ranks = [], [self.rank]
        factors += [
            {"rank": rank, "ridge_factors": ridge}
            for rank, ridge in itertools.product(ranks, of_factors)
        ]
        quick = dataclasses.replace(self, **_SELECTION)
        return [
            Stage("effects", quick, tuple(effects), open_ended=("ridge_effects",)),
            Stage("factors", quick, tuple(factors)),
        ]

    def variants(self) -> list[Choice]:
        """None."""
        return [{}]

    def input_scale(self, prefs: Preferences) -> float:
        """The table is not read."""
        return 1.0

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[PopulationHyper]:
        """Ridges, and factors in use."""
        return [
            PopulationHyper(
                jnp.float32(choice["ridge_effects"]),
                jnp.float32(choice["ridge_factors"]),
                jnp.ones(2),
                columns,
            )
            for choice, columns in zip(choices, columns_in_use(choices), strict=True)
        ]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """None without factors: that is Bradley-Terry."""
        return self.steps if any(choice["rank"] for choice in choices) else 0

    def init(self, data: FitData, hyper: PopulationHyper, *, key: jax.Array) -> PopulationState:
        """Bradley-Terry's effects; factors along which users depart from them most."""
        return with_factors(self._population.init(blank(data), hyper, key=key), data, key)

    def step(
        self, state: PopulationState, data: FitData, hyper: PopulationHyper
    ) -> tuple[PopulationState, Info]:
        """A step of Laplace EM."""
        return self._population.step(state, blank(data), hyper)

    def finish(
        self, state: PopulationState, data: FitData, hyper: PopulationHyper
    ) -> PopulationFit:
        """Effects and factors; a basis of zeros leaves nothing unknown."""
        fitted = self._population.finish(state, blank(data), hyper)
        return dataclasses.replace(fitted, basis_posterior=None)

    def predict(
        self,
        fitted: PopulationFit,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: PopulationHyper,
    ) -> list[Prediction]:
        """The uncertainty of weights, and of responses the fold's fit has not seen, integrated."""
        return self._population.predict(fitted, blank(data), fold, hyper)

    def export(self, fitted: PopulationFit, layout: Layout, prefs: Preferences) -> BasisPredictor:
        """A model whose basis is 0 and whose responses have effects of their own."""
        return self._population.export(fitted, layout, prefs)

    @property
    def _population(self) -> PopulationConfig:
        """What fits; ridges and columns reach it by `hyper`."""
        return PopulationConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            num_components=0,
            logit_scale=1.0,
        )
