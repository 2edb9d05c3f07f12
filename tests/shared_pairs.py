"""Users who judged the same pairs."""

import numpy as np

from lore_jax.data.preferences import from_arrays


def shared_pairs(seed=0, users=20, responses=8, dim=4, pairs=18):
    """Distinct pairs of few responses, judged by many; user 3 has none."""
    rng = np.random.default_rng(seed)
    every = np.array([(i, j) for i in range(responses) for j in range(i)])
    rows = np.concatenate([rng.permutation(every)[:pairs] for user in range(users) if user != 3])
    user = np.repeat([user for user in range(users) if user != 3], pairs)
    table = rng.normal(size=(responses, dim)).astype(np.float32)
    taste = np.where(user % 2, 1.0, -1.0) * (table[rows[:, 0]] - table[rows[:, 1]])[:, 0] * 3
    wins = rng.random(len(user)) < 1.0 / (1.0 + np.exp(-taste))
    chosen, rejected = np.where(wins, rows.T, rows.T[::-1])
    return from_arrays(table, chosen, rejected, user, num_users=users)
