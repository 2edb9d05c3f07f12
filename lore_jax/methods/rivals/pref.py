"""PReF: a users x pairs matrix of answers, factorised; its pair factors are linear in embeddings.

    z = lambda_u . (phi(e_chosen) - phi(e_rejected)),   phi(e) = Phi' e

The factors start at the SVD of the answers (`pref_start`) and descend together (`pref_descent`). A
new user is the logistic mode with beta / 2 |lambda - mean|^2 (`gaussian_weights`). In the paper
that is |lambda|^2, which makes a user without answers a coin; the mean of the fit's users is the
method at its best. Further against the paper: phi is linear, not the last layer of a language
model.

Without pairs that several users judged the matrix has no singular vectors worth having: it is
refused.

Reference:
    Shenfeld et al. 2025, arXiv 2503.06358, sections 3.1 (factorisation) and 3.2 (new users).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, Info, Stage
from lore_jax.methods.checks import check_positive, check_rank, possible_ranks
from lore_jax.methods.rivals.answer_matrix import num_shared_pairs
from lore_jax.methods.rivals.gaussian_weights import GaussianWeights, GaussianWeightsMethod
from lore_jax.methods.rivals.pref_descent import (
    STEPS,
    PReFState,
    descent_step,
    first_state,
    shared,
)
from lore_jax.methods.rivals.pref_start import Factors, start_factors
from lore_jax.parallel.buckets import FitData, PerUser

RANKS = (2, 4, 8)
BETAS = (30.0, 10.0, 3.0)


@dataclasses.dataclass(frozen=True)
class PReFConfig(GaussianWeightsMethod):
    """Factorised answers; None: chosen on validation.

    Attributes:
        rank: J, how many factors.
        beta: precision of a user's vector around the mean.
        steps: of the joint descent.
        learning_rate: Adam's.

    Example:
        >>> PReFConfig(rank=2, beta=1.0, steps=30).num_steps([])
        30
    """

    rank: int | None = None
    beta: float | None = None
    steps: int | None = None
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        check_rank(self.rank)
        check_positive(self, "beta", "steps", "learning_rate")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The rank.

        Raises:
            ValueError: no pair was judged by two users, or the rank exceeds the dim.
        """
        if not num_shared_pairs(prefs):
            raise ValueError(
                "no pair of responses was judged by two users: PReF factorises a users x pairs "
                "matrix and needs pairs that several users judged"
            )
        ranks = possible_ranks(self.rank, RANKS, prefs.dim, ()) or [prefs.dim]
        return [Stage("rank", self, tuple({"rank": rank} for rank in ranks))]

    def variants(self) -> list[Choice]:
        """Where the descent stops, and beta."""
        steps = STEPS if self.steps is None else (self.steps,)
        betas = BETAS if self.beta is None else (self.beta,)
        return [{"steps": count, "beta": beta} for count, beta in itertools.product(steps, betas)]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """What is given, or as far as there is to choose from."""
        return STEPS[-1] if self.steps is None else self.steps

    def init(self, data: FitData, hyper: Float[Array, " k"], *, key: jax.Array) -> PReFState:
        """The start by SVD and regression."""
        start = start_factors(data, len(hyper), key=key)
        users = tuple(jnp.asarray(own) * hyper[:, None] for own in start.users.buckets)
        factors = Factors(start.phi * hyper[None], PerUser(users))
        return first_state(factors, data, self.learning_rate)

    def step(
        self, state: PReFState, data: FitData, hyper: Float[Array, " k"]
    ) -> tuple[PReFState, Info]:
        """One step of the joint descent."""
        return descent_step(state, data, self.learning_rate)

    def finish(self, state: PReFState, data: FitData, hyper: Float[Array, " k"]) -> GaussianWeights:
        """Phi and the users' mean at each stop, with each beta."""
        phi, mean = state.snapshots
        if self.steps is not None:
            phi, mean = (leaf[None] for leaf in shared(state.factors, data))
        variants = self.variants()
        betas = jnp.array([variant["beta"] for variant in variants], jnp.float32)
        each = len(variants) // len(phi)
        return GaussianWeights(
            jnp.repeat(phi / data.input_scale, each, axis=0),
            jnp.repeat(mean, each, axis=0),
            hyper[None] / jnp.sqrt(betas)[:, None],
        )
