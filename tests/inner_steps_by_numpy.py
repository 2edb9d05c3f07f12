"""The inner steps of meta-learning in NumPy."""

import numpy as np

from lore_jax.methods.rivals import inner_steps


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


def user_logits(start, rate, f, weight):
    """The inner steps of one user; `f [pairs, k]`."""
    logits = start.copy()
    for _ in range(inner_steps.INNER_STEPS):
        mix = softmax(logits)
        pull = -weight / (1.0 + np.exp(f @ mix)) / max(weight.sum(), 1e-6)
        towards = f.T @ pull  # of the loss with respect to the mix
        logits = logits - rate * mix * (towards - mix @ towards)
    return logits
