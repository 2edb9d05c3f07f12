"""Best of n in ten lines: which of eight replies each user gets, and how sure that is."""

import jax
import numpy as np

import lore_jax as lore
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic

data = synthetic(SyntheticConfig(num_users=100, num_prompts=100, dim=16), seed=0)
model = data.model  # here the true one; yours: lore.fit(prefs, key=jax.random.key(0))
users = lore.expected_weights(model, lore.draw_shots(data.prefs, 10, seed=0))
replies = data.prefs.embeddings[:8]  # to one prompt; of texts: load_encoder("MODEL").encode(...)
picks = lore.best_of_n(model, users, replies, key=jax.random.key(1))
print("picks", picks.pick[:5], "regret expected", picks.expected_regret[:5].round(2))
print("no personal preference", picks.is_population.mean())
jury = lore.pick_for_group(model, users.take(np.arange(5)), replies, key=jax.random.key(2))
print("for five people", jury.of("Nash"), "decided" if jury.decided()[2] else "noise")
