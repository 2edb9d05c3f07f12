"""SimplexConfig: how the fit of simplex weights runs, the paper's way by default, and its published
later variant.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class SimplexConfig:
    """How the fit runs; every field is static, and the defaults are the paper's.

    Attributes:
        steps: Adam steps, on V and the logits alike.
        learning_rate: Adam's, constant.
        temperature: margins are divided by it.
        scale: raw embeddings are multiplied by it; `input_scale` is its reciprocal.
        uniform_logits: logits start at U(0, 1) instead of N(0, 1).
        pooled: the loss is the mean over all pairs instead of the sum over users of each user's
            mean.
        alternate: V is stepped at the logits already stepped instead of together with them.
        anchor: alpha, the weight of the penalty on the angles between V's columns and the reference
            head; 0: none.
        prune: columns whose largest weight over users is below it are dropped at the end; 0: none.
        minibatches: 1: every step is taken on all pairs. More: the most minibatches that the table is cut
            into; a step is taken on each in turn, with a rate that falls linearly to 0, for the
            logits a twentieth of it.

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

    def __post_init__(self) -> None:
        for name in ("steps", "learning_rate", "temperature", "scale", "num_minibatches"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: a positive number is expected")
        for name in ("anchor", "prune"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: 0 or more is expected")

    @property
    def input_scale(self) -> float:
        """What the basis divides embeddings by."""
        return 1.0 / self.scale


LATER_VARIANT = SimplexConfig(
    steps=20_000, uniform_logits=True, pooled=True, alternate=True, anchor=1e4, prune=1e-2
)  # as published after the paper, for PRISM
MINIBATCH = SimplexConfig(
    steps=2040, learning_rate=2.5, num_minibatches=60
)  # 34 epochs to where the paper's 1,000 steps end
