"""Random preferences to split, and what is in their parts as sets of Python tuples."""

import numpy as np

from lore_jax.data.preferences import from_arrays


def random_preferences(seed, *, users=12, prompts=15, replies=4, pairs=400, shared=0):
    """Ragged users over prompts with replies of their own, and `shared` replies to any prompt."""
    rng = np.random.default_rng(seed)
    user = rng.choice(users, pairs, p=rng.dirichlet(np.ones(users)))
    prompt = rng.integers(prompts, size=pairs)
    own = (
        rng.permuted(np.tile(np.arange(replies), (pairs, 1)), axis=1)[:, :2]
        + (shared + prompt * replies)[:, None]
    )
    is_shared = rng.random(pairs) < 0.3 if shared else np.zeros(pairs, bool)
    own[is_shared, 0] = rng.integers(max(1, shared), size=int(is_shared.sum()))
    order = rng.random(pairs) < 0.5
    chosen, rejected = np.where(order, own[:, 0], own[:, 1]), np.where(order, own[:, 1], own[:, 0])
    table = np.ones((shared + prompts * replies, 1), np.float32)
    return from_arrays(table, chosen, rejected, user, prompt=prompt, num_users=users)


def one_prompt(seed, *, users=10, responses=30, pairs=600):
    rng = np.random.default_rng(seed)
    chosen = rng.integers(responses, size=pairs)
    rejected = (chosen + rng.integers(1, responses, size=pairs)) % responses
    table = np.ones((responses, 1), np.float32)
    return from_arrays(table, chosen, rejected, rng.integers(users, size=pairs), num_users=users)


def prompts_of(prefs):
    return set(prefs.prompt.tolist())


def responses_of(prefs):
    return set(prefs.chosen.tolist()) | set(prefs.rejected.tolist())


def own(prefs, ids=None):
    """(user, prompt) and (user, response) combinations, users by their first numbers."""
    user = prefs.user.tolist() if ids is None else ids[prefs.user].tolist()
    prompts = set(zip(user, prefs.prompt.tolist(), strict=True))
    both = zip(user * 2, prefs.chosen.tolist() + prefs.rejected.tolist(), strict=True)
    return prompts, set(both)
