"""A small cache of answers of several kinds, and a quick configuration that fits them as said."""

import functools

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.datasets.synthetic_feedback import STARS, TIES, synthetic_feedback
from lore_jax.fitting.config import FitConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.runs.config import RunConfig, SplitConfig
from lore_jax.storage.cache.answers import answer_tensors
from lore_jax.storage.cache.writer import CacheWriter

KINDS = {TIES: 8, STARS: 8, Kind("ranking", 3, places=2): 4}
METHOD = PopulationConfig(
    12,
    0.05,
    rank=2,
    ridge_population=1.0,
    ridge_deviation=3.0,
    item_effects=0.0,
    item_effects_deviation=0.0,
    num_components=0,
    logit_scale=1.0,
)
QUICK_ANSWERS = RunConfig(
    fit=FitConfig(METHOD),
    split=SplitConfig(items=("new items",)),
    chunk=5,
    checkpoint_seconds=0.0,
)
QUICK_OPTIONS = [
    *("--steps", "12", "--learning-rate", "0.05", "--rank", "2", "--ridge-population", "1"),
    *("--ridge-deviation", "3", "--item-effects", "0", "--item-effects-deviation", "0"),
    *("--num-components", "0", "--logit-scale", "1"),
    *("--chunk", "5", "--checkpoint-seconds", "0"),
]


@functools.cache
def small_answers():
    """24 users who say twenty things each, of three kinds."""
    config = SyntheticConfig(
        num_users=24, num_prompts=30, responses_per_prompt=4, dim=8, rank=2, noise=0.5
    )
    truth = synthetic(config, seed=0)
    return synthetic_feedback(truth, KINDS, responses_per_prompt=4, seed=1).feedback


def write_answers_cache(folder):
    """The answers, with names of the users, beside the strict pairs that they make."""
    feedback = small_answers()
    pairs = strict_pairs(feedback)
    with CacheWriter(folder, dim=8, dtype="float32", encoder={"model": "synthetic"}) as writer:
        writer.append(feedback.embeddings)
        writer.finish(
            chosen=pairs.chosen,
            rejected=pairs.rejected,
            user=pairs.user,
            prompt=pairs.prompt,
            user_ids=[f"user {i}" for i in range(feedback.num_users)],
            head=feedback.head,
            answers=answer_tensors(feedback.blocks),
        )
    return folder
