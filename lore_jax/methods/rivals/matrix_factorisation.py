"""Users x items factors, without text: what a response is known by is who preferred it.

    z = (b + F d_u)[chosen] - (b + F d_u)[rejected],      d_u ~ N(0, I)

b is a response's effect on everybody, F its factors. It is the population model (`gaussian`) on a
table that says nothing: there every response has its own effects in the rewards and in the columns
of the deviations, `b ~ N(0, 1 / 2 ridge_effects)` and F's columns likewise, and those are all there
is. So it is fitted by the same Laplace EM, F starting along the directions of users' departures in
the space of responses, and a new user is folded in by the mode given the shots.

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
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lore_jax.data.preferences import Preferences, num_judged
from lore_jax.methods.base import BasisPredictor, Choice, FoldWeights, Info, Prediction, Stage
from lore_jax.methods.checks import check_positive, check_rank
from lore_jax.methods.gaussian.laplace_em import PopulationHyper, PopulationState
from lore_jax.methods.gaussian.method import PopulationConfig, PopulationFit
from lore_jax.parallel.buckets import FitData, Layout

RIDGES = (3.0, 1.0, 0.3, 0.1)
RIDGES_FACTORS = (3.0, 1.0, 0.3)
RANKS = (2, 4)
MOST_RESPONSES = 4096  # the start works with the identity of their number
