"""Answers of every kind transcribed in NumPy: log probabilities from rewards, by enumeration."""

import itertools

import numpy as np
import scipy.optimize
from scipy.special import expit, logsumexp


def log_level(margin, level, cuts):
    """Cumulative logit, as a difference of two sigmoids in float64."""
    padded = np.concatenate([[-np.inf], cuts, [np.inf]])
    return np.log(expit(padded[level + 1] - margin) - expit(padded[level] - margin))


def log_tie(margin, outcome, nu):
    """Davidson's model."""
    parts = np.stack([np.exp(-margin / 2), nu * np.ones_like(margin), np.exp(margin / 2)])
    return np.log(np.take_along_axis(parts, np.asarray(outcome)[None], 0)[0] / parts.sum(axis=0))


def log_ranking(rewards, places, worst=False):
    """Of one answer: `rewards [k]` in the order that was said."""
    total, left = 0.0, list(range(len(rewards)))
    for _ in range(min(places, len(rewards) - 1)):
        total += rewards[left[0]] - logsumexp(rewards[left])
        left = left[1:]
    if worst and len(left) > 1:
        total += -rewards[left[-1]] - logsumexp(-rewards[left])
    return total


def pair_margins(rewards):
    """Margins of all pairs of `rewards [k]`."""
    return np.array(
        [rewards[a] - rewards[b] for a, b in itertools.combinations(range(len(rewards)), 2)]
    )


def optimum(log_probability, k):
    """Mode and Laplace covariance of `log_probability(d) - |d|^2 / 2`, by scipy and differences."""

    def objective(d):
        return -log_probability(d) + d @ d / 2

    mode = scipy.optimize.minimize(objective, np.zeros(k), method="BFGS", options={"gtol": 1e-8}).x
    step, hessian = 1e-4 * np.eye(k), np.zeros((k, k))
    for i, j in itertools.product(range(k), repeat=2):
        corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        values = [s * t * objective(mode + s * step[i] + t * step[j]) for s, t in corners]
        hessian[i, j] = sum(values) / (4 * 1e-8)
    return mode, np.linalg.inv(hessian)
