"""Two users who would get different replies to one prompt, as surely as the fit can say.

The reward of a reply j for user u is w_u . R_j. Where user u's best reply a and user v's best reply
b differ, the fit is sure of it as far as

    min( P(w_u . (R_a - R_b) > 0),  P(w_v . (R_b - R_a) > 0) )

under their posteriors. Candidates are found with the posterior of the weights alone, one prompt at
a time; what is said of the few best ones has everything that is not known, of the basis and of
responses too (`margins`). The users looked at are those who are surest to differ from the
population, `|w_u - m|^2 / tr Cov[w_u]`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.disagreement import Table
from lore_jax.evaluation.schema import DifferentPicks
from lore_jax.evaluation.user_gains import user_name
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.users.predict import margins

_USERS, _PROMPTS = 400, 1000  # looked at, at most
_PICKS = 10  # replies of a prompt that are compared: those that most users would get
_CANDIDATES = 16  # of which the margins are computed in full


class _Candidate(NamedTuple):
    sure: float  # the smaller one of both standard scores
    prompt: int
    users: tuple[int, int]
    replies: tuple[int, int]


def different_picks(
    model: Model,
    users: Posterior,
    embeddings: Table,
    *,
    prompt: Int[np.ndarray, " responses"],
    level: float = 0.95,
) -> DifferentPicks | None:
    """The prompt and the two users where the fit is surest that each should get another reply.

    Args:
        model: a fitted model.
        users: the posterior of its users.
        embeddings: the table of responses.
        prompt: which prompt each response answers; -1: none.
        level: the least probability with which each of the two must prefer the own reply.

    Returns:
        Both users with their replies; None where nothing is that sure, or where nothing is known of
        how sure it is (a prior without spread).

    Example:
        >>> different_picks(model, posterior, table, prompt=prompt)  # doctest: +SKIP
        {'replies': 4, 'picks': [{'user': 'ann', 'response': 7, 'sure': 0.99}, ...
    """
    if users.covariance is None or not users.num_users:
        return None
    spread = np.trace(np.asarray(users.covariance, np.float64), axis1=1, axis2=2)
    if not (spread > 0).all():
        return None
    weights = np.asarray(users.weights, np.float64)
    distance = ((weights - np.asarray(model.prior.mean)) ** 2).sum(axis=1) / spread
    order = np.argsort(-distance, kind="stable")[:_USERS]
    names = order.tolist() if users.user_ids is None else users.user_ids[order].tolist()
    few = users.take(order)
    table = np.asarray(rewards(model, embeddings).table, np.float64)
    candidates = [
        found
        for group, rows in _replies(prompt)
        if (found := _surest(few, table[rows], rows, group)) is not None
    ]
    if not candidates:
        return None
    best = sorted(candidates, key=lambda candidate: -candidate.sure)[:_CANDIDATES]
    sure = _in_full(model, few, embeddings, best)
    first = int(sure.min(axis=1).argmax())
    if sure[first].min() < level:
        return None
    chosen = best[first]
    return {
        "replies": int((prompt == chosen.prompt).sum()),
        "picks": [
            {"user": user_name(names[user]), "response": reply, "sure": float(probability)}
            for user, reply, probability in zip(
                chosen.users, chosen.replies, sure[first], strict=True
            )
        ],
    }


def _replies(prompt: Int[np.ndarray, " responses"]) -> list[tuple[int, np.ndarray]]:
    """Prompts with two replies or more, evenly taken where there are many, and their rows."""
    order = np.argsort(prompt, kind="stable")
    order = order[prompt[order] >= 0]
    groups, start = np.unique(prompt[order], return_index=True)
    rows = np.split(order, start[1:])
    several = [(int(g), r) for g, r in zip(groups, rows, strict=True) if len(r) > 1]
    evenly = np.linspace(0, len(several) - 1, min(len(several), _PROMPTS)).astype(int)
    return [several[i] for i in evenly]


def _surest(
    users: Posterior, table: Float[np.ndarray, "replies rank"], rows: np.ndarray, prompt: int
) -> _Candidate | None:
    """The two users who differ most surely about the replies to one prompt; None: all agree."""
    weights = np.asarray(users.weights, np.float64)
    pick = (weights @ table.T).argmax(axis=1)
    replies, count = np.unique(pick, return_counts=True)
    replies = replies[np.argsort(-count, kind="stable")][:_PICKS]
    best = None
    for i, a in enumerate(replies):
        for b in replies[:i]:
            step = table[a] - table[b]
            variance = np.einsum("i,uij,j->u", step, np.asarray(users.covariance), step)
            score = weights @ step / np.sqrt(np.maximum(variance, 1e-12))
            first = int(np.where(pick == a, score, -np.inf).argmax())
            second = int(np.where(pick == b, -score, -np.inf).argmax())
            sure = float(min(score[first], -score[second]))
            if best is None or sure > best.sure:
                best = _Candidate(sure, prompt, (first, second), (int(rows[a]), int(rows[b])))
    return best


def _in_full(
    model: Model, users: Posterior, embeddings: Table, candidates: list[_Candidate]
) -> Float[np.ndarray, "candidates two"]:
    """Each user's probability of preferring the own reply, with all that is not known."""
    # As many responses whatever is found: one program.
    padded = [candidates[i % len(candidates)] for i in range(_CANDIDATES)]
    rows = np.array([candidate.replies for candidate in padded])
    mine = np.arange(2 * _CANDIDATES)
    other = mine.reshape(-1, 2)[:, ::-1].ravel()
    user = np.array([candidate.users for candidate in padded]).ravel()
    pairs = from_arrays(
        np.asarray(embeddings[rows.ravel()]), mine, other, user, num_users=users.num_users
    )
    known = margins(model, jax.tree.map(np.asarray, users), pairs)
    sure = np.zeros(len(mine))
    sure[pairs.row] = ndtr(known.mean / np.sqrt(np.maximum(known.variance, 1e-12)))
    return sure.reshape(-1, 2)[: len(candidates)]
