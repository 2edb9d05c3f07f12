"""How the joint fit of simplex weights runs: the paper's way by default."""

from __future__ import annotations

import dataclasses

from lore_jax.methods.checks import check_positive
from lore_jax.solvers.likelihood import LOGISTIC, Likelihood


@dataclasses.dataclass(frozen=True)
class SimplexSettings:
    """How the fit runs; every field is static, and the defaults are the paper's.

    Attributes:
        steps: Adam steps, on V and the logits alike.
        learning_rate: Adam's, constant.
        temperature: margins are divided by it.
        scale: raw embeddings are multiplied by it.
        uniform_logits: logits start at U(0, 1) instead of N(0, 1).
        pooled: the loss is the mean over all pairs instead of the sum over users of each user's
            mean.
        alternate: V is stepped at the logits already stepped instead of together with them.
        anchor: alpha, the weight of the penalty on the angles between V's columns and the reference
            head; 0: none.
        prune: columns whose largest weight over users is below it are dropped at the end; 0: none.
        num_minibatches: 1: every step is taken on all pairs. More: the most mini-batches that the
            table is cut into; a step is taken on each in turn, with a rate that falls linearly to
            0, for the logits a twentieth of it.
        likelihood: how probable a choice is, given its margin.

    Reference:
        Bose et al. 2025, arXiv 2504.14439, equation 4 and its appendix on training.
    """

    steps: int = 1000
    learning_rate: float = 0.5
    temperature: float = 100.0
    scale: float = 1.0
    uniform_logits: bool = False
    pooled: bool = False
    alternate: bool = False
    anchor: float = 0.0
    prune: float = 0.0
    num_minibatches: int = 1
    likelihood: Likelihood = LOGISTIC

    def __post_init__(self) -> None:
        check_positive(self, "steps", "learning_rate", "temperature", "scale", "num_minibatches")
        for name in ("anchor", "prune"):
            if not 0 <= getattr(self, name) < float("inf"):
                expected = "0 or more, and finite, is expected"
                raise ValueError(f"{name} is {getattr(self, name)}: {expected}")
