"""A small cache and a quick configuration, for tests of runs and of the command line."""

from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.fitting.config import FitConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.runs.config import RunConfig, SplitConfig
from lore_jax.storage.cache.writer import CacheWriter

QUICK = RunConfig(
    fit=FitConfig(SimplexConfig(rank=2, steps=25, learning_rate=0.1, temperature=1.0)),
    split=SplitConfig(items=("new items",)),
    chunk=10,
    checkpoint_seconds=0.0,
)
QUICK_OPTIONS = [
    *("--method", "simplex", "--rank", "2", "--steps", "25", "--learning-rate", "0.1"),
    *("--temperature", "1", "--split.items", "new items", "--chunk", "10"),
    *("--checkpoint-seconds", "0"),
]


def write_small_cache(folder, seed=0, encoder="synthetic", dim=12):
    """24 users with 10 pairs each, the last one without any."""
    config = SyntheticConfig(
        num_users=24,
        num_prompts=40,
        responses_per_prompt=3,
        pairs_per_user=(10, 10),
        dim=dim,
        rank=2,
    )
    prefs = synthetic(config, seed=seed).prefs
    with CacheWriter(folder, dim=dim, dtype="float32", encoder={"model": encoder}) as writer:
        writer.append(prefs.embeddings)
        writer.finish(
            chosen=prefs.chosen,
            rejected=prefs.rejected,
            user=prefs.user,
            prompt=prefs.prompt,
            user_ids=[f"user {i}" for i in range(prefs.num_users + 1)],
            head=prefs.head,
        )
    return folder
