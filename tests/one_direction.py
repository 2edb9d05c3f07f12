"""A linear network by hand, to train."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp

from lore_jax.methods.rivals.network import Objective
from lore_jax.methods.rivals.network_method import NetworkConfig
from lore_jax.solvers.likelihood import LOGISTIC

RATE, DECAY, STEPS = 0.01, 0.5, 8


@dataclasses.dataclass(frozen=True)
class OneDirection(NetworkConfig):
    """z = v . (e_chosen - e_rejected) + d_u, everybody and all pairs in every step."""

    GRID: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "learning_rate": (RATE, 2 * RATE),
        "weight_decay": (DECAY,),
    }
    VECTOR_RATE: ClassVar[float] = 0.02

    steps: int = STEPS
    pairs_a_step: int = 100

    @property
    def vector_size(self):
        return 1

    def init_params(self, dim, *, key):
        return {"kernel": jnp.full((dim, 1), 0.1), "bias": jnp.zeros(1)}

    def rows(self, params, embeddings, input_scale):
        return embeddings @ params["kernel"] / input_scale

    def objective(self, params, rows, step):
        pairs, own = step.drawn.pairs, step.vectors + params["bias"][0]
        margin = (rows[pairs.chosen] - rows[pairs.rejected])[..., 0] + own
        return Objective(jnp.sum(pairs.weight * LOGISTIC.loss(margin)), jnp.sum(pairs.weight))

    def user_margins(self, params, rows, shots, targets, hyper):
        margin = (rows[targets.chosen] - rows[targets.rejected])[:, 0] + params["bias"][0]
        return margin + jnp.sum(shots.weight), jnp.zeros_like(margin)


GIVEN = OneDirection(learning_rate=RATE, weight_decay=DECAY, stop_after=STEPS)
