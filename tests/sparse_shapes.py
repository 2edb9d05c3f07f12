"""Comparisons of the sparse shapes that people bring, synthetic and of any size.

Texts are vectors whose value a user weighs by weights of their own, so that there is something to
find. What matters here is who compared what.
"""

import dataclasses

import numpy as np

from lore_jax.data.preferences import from_arrays
from lore_jax.storage.cache.writer import CacheWriter

DIM = 16


@dataclasses.dataclass
class Judged:
    """Users with tastes over a table of texts."""

    rng: np.random.Generator
    table: np.ndarray
    weights: np.ndarray

    def pair(self, user, first, second):
        """(chosen, rejected) of users and two rows of the table each."""
        difference = self.table[first] - self.table[second]
        margin = 2.0 * np.sum(self.weights[user] * difference, axis=1)
        wins = self.rng.random(len(user)) < 1 / (1 + np.exp(-margin))
        return np.where(wins, first, second), np.where(wins, second, first)


def judged(seed, users, texts):
    rng = np.random.default_rng(seed)
    table = (rng.normal(size=(texts, DIM)) / np.sqrt(DIM)).astype(np.float32)
    shared = rng.normal(size=DIM)
    return Judged(rng, table, shared + rng.normal(size=(users, DIM)))


def workers(*, users=600, pairs=50_000, texts=1000, topics=16, topics_each=3, seed=0):
    """Crowd workers who compare texts of one topic, each in a few topics; few do most of it."""
    data = judged(seed, users, texts)
    activity = data.rng.dirichlet(np.full(users, 1.0))
    user = np.concatenate([np.arange(users).repeat(3), data.rng.choice(users, pairs, p=activity)])
    user = user[:pairs]
    own = np.stack([data.rng.permutation(topics)[:topics_each] for _ in range(users)])
    topic = own[user, data.rng.integers(topics_each, size=pairs)]
    each = texts // topics
    first = data.rng.integers(each, size=pairs)
    second = (first + data.rng.integers(1, each, size=pairs)) % each
    chosen, rejected = data.pair(user, topic * each + first, topic * each + second)
    return from_arrays(data.table, chosen, rejected, user, prompt=topic, num_users=users)


def raters(*, users=270, texts=2200, votes=50, pairs=44, seed=0):
    """Votes made into pairs: each rater has seen some of very many texts; there is one prompt."""
    data = judged(seed, users, texts)
    columns = []
    for user in range(users):
        seen = data.rng.permutation(texts)[:votes]
        first, second = np.triu_indices(votes, 1)
        value = data.table[seen] @ data.weights[user] + 0.5 * data.rng.normal(size=votes)
        agreed = value > 0
        drawn = data.rng.permutation(np.flatnonzero(agreed[first] != agreed[second]))[:pairs]
        up = np.where(agreed[first], first, second)[drawn]
        down = np.where(agreed[first], second, first)[drawn]
        columns.append(np.stack([seen[up], seen[down], np.full(len(up), user)]))
    return from_arrays(data.table, *np.concatenate(columns, axis=1), num_users=users)


def own_prompts(*, users=160, prompts=40, replies=4, seed=0):
    """People who talk to a model: every prompt is one person's, and has replies of its own."""
    data = judged(seed, users, users * prompts * replies)
    prompt = np.arange(users * prompts)
    user, drawn = (
        prompt // prompts,
        data.rng.permuted(np.tile(np.arange(replies), (len(prompt), 1)), axis=1),
    )
    first, second = prompt * replies + drawn[:, 0], prompt * replies + drawn[:, 1]
    return from_arrays(data.table, *data.pair(user, first, second), user, prompt=prompt)


def write_cache(folder, prefs):
    """A cache of preferences."""
    with CacheWriter(folder, dim=prefs.dim, dtype="float32", encoder={"model": "none"}) as writer:
        writer.append(prefs.embeddings)
        writer.finish(
            chosen=prefs.chosen,
            rejected=prefs.rejected,
            user=prefs.user,
            prompt=prefs.prompt,
            user_ids=[f"user {number}" for number in range(prefs.num_users)],
        )
    return folder
