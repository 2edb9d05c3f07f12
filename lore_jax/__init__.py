"""lore_jax: a reward basis shared by everyone, a few weights for each user."""
