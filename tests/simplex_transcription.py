"""The simplex objective, its gradient and Adam in NumPy and float64, a user at a time."""

import numpy as np
from joint_fit import differences
from scipy.special import expit, softmax


class Transcription:
    """The formulas, a user at a time, in float64."""

    def __init__(self, prefs, config):
        self.prefs, self.config = prefs, config
        self.pairs = config.scale * differences(prefs)
        self.users = [
            np.flatnonzero((prefs.user == u) & (prefs.pair_weight > 0))
            for u in range(prefs.num_users)
        ]

    def share(self, rows):
        weight = self.prefs.pair_weight.astype(np.float64)
        return weight[rows] / (weight.sum() if self.config.pooled else weight[rows].sum())

    def objective(self, directions, logits):
        loss = 0.0
        for rows, of_user in zip(self.users, logits, strict=True):
            margin = self.pairs[rows] @ directions @ softmax(of_user) / self.config.temperature
            loss += self.share(rows) @ np.log1p(np.exp(-margin)) if len(rows) else 0.0
        return loss

    def gradient(self, directions, logits):
        of_directions, of_logits = np.zeros_like(directions), np.zeros_like(logits)
        for user, rows in enumerate(self.users):
            if not len(rows):
                continue
            weights = softmax(logits[user])
            margin = self.pairs[rows] @ directions @ weights / self.config.temperature
            pulled = (
                self.pairs[rows].T @ (-self.share(rows) * expit(-margin)) / self.config.temperature
            )
            of_directions += np.outer(pulled, weights)
            of_weights = directions.T @ pulled
            of_logits[user] = weights * (of_weights - weights @ of_weights)
        return of_directions, of_logits

    def anchor(self, directions, step):
        """Gradient of `alpha mean(1 - cos(V_k, head))`, alpha rising from 20 % to 80 % of the
        steps.
        """
        share = min(max((step / self.config.steps - 0.2) / 0.6, 0.0), 1.0)
        head = self.prefs.head.astype(np.float64) / np.linalg.norm(self.prefs.head)
        norm = np.linalg.norm(directions, axis=0)
        cosine = head @ directions / norm
        slope = -(head[:, None] - cosine * directions / norm) / norm
        return self.config.anchor * share * slope / directions.shape[1]

    def fit(self, directions, logits, steps):
        directions, logits = directions.astype(np.float64), logits.astype(np.float64)
        adam_v, adam_l = Adam(self.config.learning_rate), Adam(self.config.learning_rate)
        losses = []
        for step in range(steps):
            of_directions, of_logits = self.gradient(directions, logits)
            moved = adam_l(logits, of_logits)
            at = moved if self.config.alternate else logits
            losses.append(self.objective(directions, at))
            of_directions = self.gradient(directions, at)[0] + self.anchor(directions, step)
            directions, logits = adam_v(directions, of_directions), moved
        return directions, logits, losses


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, rate, squares=0.999):
        self.rate, self.squares, self.taken, self.first, self.second = rate, squares, 0, 0.0, 0.0

    def __call__(self, values, gradient):
        self.taken += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = self.squares * self.second + (1 - self.squares) * gradient**2
        first, second = (
            self.first / (1 - 0.9**self.taken),
            self.second / (1 - self.squares**self.taken),
        )
        return values - self.rate * first / (np.sqrt(second) + 1e-8)
