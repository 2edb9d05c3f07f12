"""The paper's objective as a method: the ranks to choose from, and what is exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import (
    BasisPredictor,
    Choice,
    FoldWeights,
    Info,
    Prediction,
    Stage,
    predicted,
)
from lore_jax.methods.checks import check_hidden, check_rank, possible_ranks
from lore_jax.methods.simplex import joint_fit
from lore_jax.methods.simplex.config import SimplexSettings
from lore_jax.methods.simplex.joint_fit import SimplexHyper, SimplexState
from lore_jax.model.basis import apply_to_table, make_basis
from lore_jax.model.model import Model
from lore_jax.model.posterior import population_posterior
from lore_jax.model.prior import SimplexPrior
from lore_jax.parallel.buckets import FitData, Layout, PerUser, features
from lore_jax.solvers.interior_point import simplex_estimate

_RANKS = (1, 2, 5, 10)  # the most regularised first: that is how ties are broken


@dataclasses.dataclass(frozen=True)
class SimplexConfig(SimplexSettings):
    """The paper's objective: weights on the simplex, no prior (`joint_fit`).

    Attributes:
        rank: columns of the basis; None: chosen on validation.
        hidden: widths of the basis' hidden layers; none: a linear basis.
    """

    rank: int | None = None
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rank(self.rank)
        check_hidden(self.hidden)

    @property
    def loss_unit(self) -> str:
        """What the loss is."""
        return "nats a pair" if self.pooled else "nats, the mean over users of each user's mean"

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The rank."""
        if self.anchor and prefs.head is None:
            raise ValueError("anchor is set, but the preferences have no reference head")
        ranks = possible_ranks(self.rank, _RANKS, prefs.dim, self.hidden)
        return [Stage("rank", self, tuple({"rank": rank} for rank in ranks))]

    def variants(self) -> list[Choice]:
        """None."""
        return [{}]

    @property
    def streams_table(self) -> bool:
        """Embeddings are touched by products alone."""
        return True

    @property
    def by_inner_products(self) -> bool:
        """Its basis starts at random, in every coordinate."""
        return False

    def input_scale(self, prefs: Preferences) -> float:
        """The reciprocal of the scale."""
        return 1.0 / self.scale

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[SimplexHyper]:
        """Columns in use, and the reference head."""
        columns = np.arange(max(choice["rank"] for choice in choices))
        head = None if prefs.head is None else jnp.asarray(prefs.head)
        return [
            SimplexHyper(jnp.asarray(columns < choice["rank"], jnp.float32), head, prefs.num_users)
            for choice in choices
        ]

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """The same for every rank."""
        return self.steps

    def init(self, data: FitData, hyper: SimplexHyper, *, key: jax.Array) -> SimplexState:
        """V and the logits drawn."""
        key_basis, key_logits = jax.random.split(key)
        example = jnp.zeros((1, data.embeddings.shape[-1]))
        params = self._basis(hyper).init(key_basis, example, data.input_scale)["params"]
        rank = len(hyper.columns)
        everybody = joint_fit.draw_logits(self, hyper.num_users, rank, key=key_logits)
        logits = PerUser(tuple(everybody[users].T for users in data.users.buckets))
        return joint_fit.init(self, dict(params), logits, data)

    def step(
        self, state: SimplexState, data: FitData, hyper: SimplexHyper
    ) -> tuple[SimplexState, Info]:
        """One Adam step on the basis and on everybody's logits."""
        return joint_fit.step(state, data, hyper, module=self._basis(hyper), config=self)

    def finish(self, state: SimplexState, data: FitData, hyper: SimplexHyper) -> SimplexState:
        """The state itself."""
        return state

    def predict(
        self,
        fitted: SimplexState,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: SimplexHyper,
    ) -> list[Prediction]:
        """At the optimal weights of the fold's shots."""
        basis = self._basis(hyper)
        applied = apply_to_table(basis, fitted.params, data.embeddings, data.input_scale)
        predictions = []
        for bucket, roles in zip(data.buckets, fold, strict=True):
            along = features(applied, bucket) / self.temperature
            # A column out of use is made worse than those in use on every pair, so that the
            # optimum gives it no weight.
            in_use = hyper.columns[:, None, None] > 0
            worst = -1.0 - jnp.max(jnp.abs(along), where=in_use, initial=0.0)
            masked = jnp.where(in_use, along, worst)
            user = simplex_estimate(masked, roles.shots, likelihood=self.likelihood)
            weights = user.weights * hyper.columns[:, None]  # all of it, but without shots
            weights = weights / jnp.sum(weights, axis=0)[None]
            margin = jnp.sum(along * weights[:, None], axis=0)
            predictions.append(predicted(self.likelihood, margin[None]))
        return predictions

    def export(self, fitted: SimplexState, layout: Layout, prefs: Preferences) -> BasisPredictor:
        """A model of the columns that somebody weighs; users keep the weights of the fit."""
        rank = fitted.params["V"].shape[-1]
        (hyper,) = self.hypers([{"rank": rank}], prefs)
        has_pairs = prefs.weight_per_user() > 0
        result = joint_fit.collect_fit(fitted, layout, has_pairs, hyper, config=self)
        model = Model(
            make_basis(len(result.columns), self.hidden),
            jax.tree.map(jnp.asarray, result.params),
            jnp.float32(self.input_scale(prefs)),
            SimplexPrior(jnp.asarray(result.mean)),
            self.temperature,
            likelihood=self.likelihood,
        )
        users = population_posterior(model, prefs.num_users, prefs.user_ids)
        shots = np.bincount(prefs.user[prefs.pair_weight > 0], minlength=prefs.num_users)
        return BasisPredictor(
            model,
            dataclasses.replace(users, weights=result.weights, shots=shots.astype(np.int32)),
        )

    def _basis(self, hyper: SimplexHyper) -> nn.Module:
        return make_basis(len(hyper.columns), self.hidden)
