"""An ensemble of linear heads: ridge Bradley-Terry on bootstraps over users; nobody is personal.

Head m is ridge Bradley-Terry (`bradley_terry`) with every pair weighted by its user's draw,

    v_m = argmin_v  sum_u n_mu sum_i c_ui loss(v . x_ui) + ridge |v|^2,      n_mu ~ Poisson(1),

so heads differ by who happened to be asked. The M fits are one program, a vmap over the draws. A
response's reward is the mean over heads, or the lower bound

    r(e) = mean_m v_m . (e - e_0) - k sd_m v_m . (e - e_0),

e_0 being the mean of the responses compared: pairs leave the origin of rewards open, but a standard
deviation depends on it. The lower bound is what a policy would be trained on (conservative where
heads disagree); the uncertainty of a margin is its variance over heads in both. Against the paper:
heads on frozen embeddings, and bootstraps over users instead of orders of the data. The ridge is
chosen as for Bradley-Terry.

Reference:
    Zhang et al. 2024, arXiv 2401.16635, sections 3 (heads on a shared body) and 4 (mean, lower
    confidence bound).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Choice, FoldWeights, Prediction, Stage, predicted
from lore_jax.methods.bradley_terry import BradleyTerryConfig, bradley_terry
from lore_jax.methods.checks import check_positive
from lore_jax.methods.rivals.ensemble_predictor import EnsemblePredictor, lower_bounds
from lore_jax.methods.shared_direction import Direction, SharedDirection
from lore_jax.parallel.buckets import FitData, Layout, UserBucket, features
from lore_jax.parallel.devices import first_shard
from lore_jax.solvers.likelihood import LOGISTIC

_PADDING = np.uint32(2**31)  # users that fill up a bucket draw as this one


def bootstrap_weights(data: FitData, key: jax.Array) -> list[Float[Array, "_users"]]:
    """How often each user of each bucket is drawn: Poisson(1), by the user's own number."""

    def draw(user: Array) -> Array:
        number = jnp.where(user < 0, _PADDING, user.astype(jnp.uint32))
        return jax.random.poisson(jax.random.fold_in(key, number), 1.0).astype(jnp.float32)

    return [jax.vmap(draw)(jnp.asarray(users)) for users in data.users.buckets]


@dataclasses.dataclass(frozen=True)
class EnsembleConfig(SharedDirection):
    """Heads on bootstraps over users; None: chosen on validation.

    Attributes:
        ridge: ridge on each head, in units of pairs.
        num_heads: M.
        lower_bound: k, how many standard deviations below the mean a reward is; 0: the mean.

    Example:
        >>> from lore_jax.fitting.fit import fit_predictor
        >>> config = FitConfig(EnsembleConfig(ridge=3.0, num_heads=4))
        >>> predictor, history = fit_predictor(prefs, config, key=0)
        >>> predictor.heads.shape
        (8, 4)
    """

    ridge: float | None = None
    num_heads: int = 10
    lower_bound: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "ridge")
        if self.num_heads < 2:
            raise ValueError(f"num_heads is {self.num_heads}: 2 or more is expected")
        if not 0 <= self.lower_bound < float("inf"):
            raise ValueError(f"lower_bound is {self.lower_bound}: 0 or more is expected")

    def stages(self, prefs: Preferences) -> list[Stage]:
        """The ridge, as of Bradley-Terry."""
        return BradleyTerryConfig(ridge=self.ridge).stages(prefs)

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Float[Array, ""]]:
        """The ridge."""
        return [jnp.float32(choice["ridge"]) for choice in choices]

    def init(self, data: FitData, hyper: Float[Array, ""], *, key: jax.Array) -> Direction:
        """The heads, `[heads, dim]`: the optimum of each."""

        def head(key: jax.Array) -> Direction:
            drawn = bootstrap_weights(data, key)
            buckets = tuple(
                UserBucket(bucket.chosen, bucket.rejected, bucket.pair_weight * count[None])
                for bucket, count in zip(data.buckets, drawn, strict=True)
            )
            part = dataclasses.replace(data, buckets=buckets)
            return Direction(bradley_terry(part, hyper, jnp.zeros(1)).direction, jnp.zeros(1))

        return jax.vmap(head)(jax.random.split(key, self.num_heads))

    def predict(
        self,
        fitted: Direction,
        data: FitData,
        fold: Sequence[FoldWeights],
        hyper: Float[Array, ""],
    ) -> list[Prediction]:
        """By the heads, whoever the user is."""
        heads = jnp.matmul(data.table, fitted.along.T, preferred_element_type=jnp.float32)
        heads -= jnp.mean(heads, axis=0, keepdims=True)
        bound = lower_bounds(heads, self.lower_bound)[:, None]
        return [
            predicted(
                LOGISTIC,
                features(bound, bucket),
                features(heads, bucket).var(axis=0, ddof=1)[None],
            )
            for bucket in data.buckets
        ]

    def export(self, fitted: Direction, layout: Layout, prefs: Preferences) -> EnsemblePredictor:
        """The heads; every user is the population."""
        heads = first_shard(fitted.along).T
        table = np.asarray(prefs.take_responses().embeddings, np.float32)
        return EnsemblePredictor(heads, table.mean(axis=0) @ heads, self.lower_bound)
