"""Synthetic answers of every kind, by the users and over the responses of synthetic preferences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.data.feedback import Answers, Feedback, answers, from_answers
from lore_jax.datasets.synthetic import Synthetic
from lore_jax.model.answer_model import AnswerModel

FIVE, STARS = Kind("strength", 2, levels=5), Kind("rating", 1, levels=5)
TIES, VOTES = Kind("tie", 2, levels=3), Kind("rating", 1, levels=3)
# How people answer: moderate strengths mostly, a quarter of ties, ratings a bit above the middle.
TRUE_ANSWERS = AnswerModel(
    {
        FIVE.scale: jnp.array([0.0, 0.3]),
        STARS.scale: jnp.array([-3.0, 0.4, 0.3, 0.4]),
        VOTES.scale: jnp.array([-1.0, 0.4]),
        TIES.scale: jnp.array([0.5]),
    },
    intercept=jnp.array(1.0),
)


class SyntheticFeedback(NamedTuple):
    """Answers and their ground truth.

    Attributes:
        feedback: the answers.
        intercept: each user's intercept of ratings, `[users]`.
        answers: how they were drawn.
    """

    feedback: Feedback
    intercept: Float[np.ndarray, " users"]
    answers: AnswerModel


def synthetic_feedback(
    truth: Synthetic,
    per_user: Mapping[Kind, int],
    *,
    responses_per_prompt: int,
    seed: int,
    how: AnswerModel = TRUE_ANSWERS,
    lapse: float = 0.0,
) -> SyntheticFeedback:
    """Lets the users of synthetic preferences answer otherwise, on prompts drawn anew.

    Args:
        truth: table, basis and weights.
        per_user: how many answers of each kind a user gives.
        responses_per_prompt: of `truth`, which has them side by side.
        seed: of everything drawn here.
        how: cut points, ties and spread of intercepts.
        lapse: the share of answers as if all rewards were equal.

    Returns:
        The answers and their ground truth.

    Raises:
        ValueError: an answer is about more responses than a prompt has.

    Example:
        >>> from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
        >>> truth = synthetic(SyntheticConfig(num_users=5), seed=0)
        >>> kinds = {STARS: 4, Kind("ranking", 3, places=2): 2}
        >>> synthetic_feedback(truth, kinds, responses_per_prompt=8, seed=0).feedback
        10 rankings of 3, 20 ratings 1-5 of 5 users on 3,200 responses
    """
    rng = np.random.default_rng(seed)
    users, prefs = len(truth.weights), truth.prefs
    intercept = float(how.intercept) * rng.standard_normal(users)
    rewards = np.asarray(prefs.embeddings, np.float32) @ truth.basis
    replies = responses_per_prompt
    blocks: list[Answers] = []
    for kind, count in per_user.items():
        if kind.num_items > replies:
            raise ValueError(f"{kind} need {kind.num_items} responses, a prompt has {replies}")
        user = np.repeat(np.arange(users), count)
        prompt = rng.integers(len(rewards) // replies, size=len(user))
        within = np.argsort(rng.random((len(user), replies)), axis=1)[:, : kind.num_items]
        items = prompt[:, None] * replies + within
        own = np.einsum("ur,uir->ui", truth.weights[user], rewards[items])
        own = np.where(rng.random((len(user), 1)) < lapse, 0.0, own)
        shift = intercept[user] if kind.name == "rating" else np.zeros(len(user))
        items, outcome = _answer(kind, items, own, shift, how, rng)
        blocks.append(answers(kind, items, user, outcome=outcome, prompt=prompt))
    feedback = from_answers(prefs.embeddings, blocks, num_users=users, head=prefs.head)
    return SyntheticFeedback(feedback, intercept.astype(np.float32), how)


def _answer(
    kind: Kind,
    items: Int[np.ndarray, "answers items"],
    rewards: Float[np.ndarray, "answers items"],
    shift: Float[np.ndarray, "answers"],
    how: AnswerModel,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Items in the order said, and the level."""
    noisy = rewards + rng.gumbel(size=rewards.shape)
    if kind.name == "best_worst":
        best = np.argmax(noisy, axis=1)[:, None]
        against = rng.gumbel(size=rewards.shape) - rewards
        np.put_along_axis(against, best, -np.inf, axis=1)
        rank = np.zeros(rewards.shape)
        np.put_along_axis(rank, np.argmax(against, axis=1)[:, None], 1.0, axis=1)
        np.put_along_axis(rank, best, -1.0, axis=1)
        order = np.argsort(rank, axis=1, kind="stable")
        return np.take_along_axis(items, order, axis=1), None
    if kind.name in ("pair", "ranking"):
        order = np.argsort(-noisy, axis=1)
        return np.take_along_axis(items, order, axis=1), None
    if kind.name == "tie" and how.ties == "davidson":
        margin, log_nu = rewards[:, 0] - rewards[:, 1], float(how.free[kind.scale][0])
        utility = np.stack([-0.5 * margin, np.full(len(margin), log_nu), 0.5 * margin], axis=1)
        return items, np.argmax(utility + rng.gumbel(size=utility.shape), axis=1)
    score = rewards[:, 0] if kind.name == "rating" else rewards[:, 0] - rewards[:, 1]
    latent = score + shift + rng.logistic(size=len(score))
    return items, np.searchsorted(np.asarray(how.cuts(kind.scale)), latent)
