"""Feedback cut in two, shots drawn from it, and what is left of it as strict pairs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from lore_jax.data.feedback import Answers, Feedback
from lore_jax.data.groups import rank_within
from lore_jax.data.preferences import Preferences, from_arrays


def hold_out(
    feedback: Feedback, share: float, *, by: Literal["answer", "prompt", "response"], seed: int
) -> tuple[Feedback, Feedback]:
    """Cuts feedback in two parts without what leaks from one to the other.

    Args:
        feedback: any feedback.
        share: of the second part, between 0 and 1.
        by: "answer": answers at random; "prompt": all answers on a prompt are in one part;
            "response": all on a response are, and answers on responses of both are dropped.
        seed: of the draw.

    Returns:
        The rest, and what is held out.

    Raises:
        ValueError: the share is not between 0 and 1.

    Example:
        >>> train, test = hold_out(feedback, 0.3, by="response", seed=0)
        >>> test.num_answers > 0
        True
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share is {share}: a number above 0 and below 1 is expected")
    rng, masks = np.random.default_rng(seed), []
    largest = max((int(block.prompt.max()) for block in feedback.blocks), default=0)
    of_prompt = rng.random(largest + 1) < share
    of_response = rng.random(feedback.num_responses) < share
    for block in feedback.blocks:
        if by == "prompt":
            out = of_prompt[block.prompt]
            masks.append((~out, out))
        elif by == "response":
            out = of_response[block.items]
            masks.append((~out.any(axis=1), out.all(axis=1)))
        else:
            out = rng.random(len(block)) < share
            masks.append((~out, out))
    kept, held = zip(*masks, strict=True) if masks else ((), ())
    return feedback.take(kept), feedback.take(held)


def draw_answers(feedback: Feedback, count: int, *, seed: int) -> tuple[Feedback, Feedback]:
    """At most `count` random answers of each user, and the rest.

    Draws of one seed are nested: the 5 answers of a user are among the 10.

    Args:
        feedback: any feedback.
        count: the most answers of a user, of all kinds together, 0 or more.
        seed: of the draw.

    Returns:
        The drawn answers and the others; table and users stay as they are.

    Raises:
        ValueError: `count` is negative.

    Example:
        >>> drawn, rest = draw_answers(feedback, 3, seed=0)
        >>> int(drawn.answers_per_user().max())
        3
    """
    if count < 0:
        raise ValueError(f"count is {count}: 0 or more is expected")
    users = [block.user for block in feedback.blocks]
    order = rank_within(np.concatenate([*users, []]).astype(int), np.random.default_rng(seed))
    bounds = np.cumsum([0, *map(len, users)])
    masks = [order[start:stop] < count for start, stop in itertools.pairwise(bounds)]
    return feedback.take(masks), feedback.take([~mask for mask in masks])


def strict_pairs(
    feedback: Feedback, *, max_pairs: int = 60, across_prompts: bool | None = None, seed: int = 0
) -> Preferences:
    """The same answers as strict pairs: what a method that knows nothing else can use.

    Ties and middle levels are dropped, strengths lose their size; a ranking becomes all pairs that
    it orders; ratings become pairs of a higher and a lower rated response of one user and prompt.

    Args:
        feedback: any feedback.
        max_pairs: the most pairs drawn from the ratings of a user.
        across_prompts: pair ratings of different prompts too. Who rates has one scale for all
            prompts; who compares has seen both responses. None: where most users rated one
            response a prompt.
        seed: of the draws of pairs of ratings.

    Returns:
        The pairs over the same table, by the same users; `row` counts them.

    Example:
        >>> strict_pairs(feedback).num_users == feedback.num_users
        True
    """
    rng = np.random.default_rng(seed)
    across = pairs_cross_prompts(feedback) if across_prompts is None else across_prompts
    empty = np.zeros((5, 0))
    found = [
        columns
        for block in feedback.blocks
        for columns in (
            _of_ratings(block, max_pairs, rng, across_prompts=across)
            if block.kind.name == "rating"
            else _of(block)
        )
    ]
    chosen, rejected, user, prompt, weight = np.concatenate([empty, *found], axis=1)
    pairs = (column.astype(np.int32) for column in (chosen, rejected, user))
    made = from_arrays(
        feedback.embeddings,
        *pairs,
        prompt=prompt.astype(np.int32),
        pair_weight=weight,
        num_users=feedback.num_users,
        user_ids=feedback.user_ids,
        head=feedback.head,
    )
    return dataclasses.replace(made, encoder=feedback.encoder)


def _of(block: Answers) -> Iterator[np.ndarray]:
    """Columns chosen, rejected, user, prompt, weight of the pairs that answers order."""
    kind = block.kind
    if kind.levels:
        above = 2 * block.outcome - (kind.levels - 1)
        high = np.where(above > 0, block.items[:, 0], block.items[:, 1])
        low = np.where(above > 0, block.items[:, 1], block.items[:, 0])
        yield _columns(block, high, low)[:, above != 0]
        return
    last = kind.num_items - 1
    for a, b in itertools.combinations(range(kind.num_items), 2):
        said = a < kind.places if kind.name == "ranking" else a == 0 or b == last
        if said:
            yield _columns(block, block.items[:, a], block.items[:, b])


def pairs_cross_prompts(feedback: Feedback) -> bool:
    """Whether `strict_pairs` compares ratings of different prompts, as there is little else.

    Example:
        >>> pairs_cross_prompts(feedback)
        True
    """
    ratings = (block for block in feedback.blocks if block.kind.name == "rating")
    return any(most_rate_one_a_prompt(block.user, block.prompt, block.outcome) for block in ratings)


def most_rate_one_a_prompt(
    user: Int[np.ndarray, " ratings"],
    prompt: Int[np.ndarray, " ratings"],
    rating: Shaped[np.ndarray, " ratings"],
) -> bool:
    """Whether of those who gave different ratings, most did not give them to one prompt.

    Example:
        >>> user, rating = np.zeros(2, int), np.array([0.0, 1.0])
        >>> most_rate_one_a_prompt(user, np.array([0, 1]), rating)
        True
    """

    def who_differ(*keys: Int[np.ndarray, " ratings"]) -> int:
        levels = np.unique(np.stack([*keys, np.unique(rating, return_inverse=True)[1]]), axis=1)
        groups, count = np.unique(levels[:-1], axis=1, return_counts=True)
        return len(np.unique(groups[0, count > 1]))

    return 2 * who_differ(user, prompt) < who_differ(user)


def _of_ratings(
    block: Answers, max_pairs: int, rng: np.random.Generator, *, across_prompts: bool
) -> Iterator[np.ndarray]:
    """Of each user, at most so many pairs of ratings that differ."""
    bounds = np.searchsorted(block.user, np.arange(block.user.max(initial=-1) + 2))
    for start, stop in itertools.pairwise(bounds):
        own = np.arange(start, stop)
        i, j = (own[side] for side in np.triu_indices(len(own), 1))
        differ = block.outcome[i] != block.outcome[j]
        differ &= across_prompts | (block.prompt[i] == block.prompt[j])
        differ &= block.items[i, 0] != block.items[j, 0]
        i, j = i[differ], j[differ]
        if len(i) > max_pairs:
            drawn = rng.choice(len(i), max_pairs, replace=False)
            i, j = i[drawn], j[drawn]
        high = np.where(block.outcome[i] > block.outcome[j], i, j)
        low = np.where(block.outcome[i] > block.outcome[j], j, i)
        yield _columns(block.take(high), block.items[high, 0], block.items[low, 0])


def _columns(block: Answers, high: Int[np.ndarray, "n"], low: Int[np.ndarray, "n"]) -> np.ndarray:
    return np.stack([high, low, block.user, block.prompt, block.weight])
