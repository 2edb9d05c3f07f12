"""When a user need not be asked any more: an answer would teach too little, or the pick is settled.

The first is read off `ask`: `questions.gain[:, 0] < bound`. The second is here.
"""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.users.candidates import check_rows
from lore_jax.users.predict import sample_weights
from lore_jax.users.questions import Questions

_DRAWS_AT_A_TIME = 1 << 20


def probability_of_best(
    model: Model,
    posterior: Posterior,
    embeddings: Float[Array | np.ndarray, "responses dim"],
    replies: Int[np.ndarray, " t"],
    *,
    draws: int = 1000,
    key: jax.Array,
) -> Float[np.ndarray, "users t"]:
    """How probable it is, for every user, that each reply is the one with the highest reward.

    Counted over draws of the weights (`sample_weights`).

    Args:
        model: a fitted model.
        posterior: of the users.
        embeddings: the table of the replies, `[responses, dim]`.
        replies: their rows, `[t]`.
        draws: how many draws of each user.
        key: the one source of randomness.

    Returns:
        Probabilities that sum to one, `[users, t]`.

    Raises:
        ValueError: a reply is not in the table, there is none, or `draws` is below 1.

    Example:
        >>> replies = np.array([0, 1, 2])
        >>> best = probability_of_best(
        ...     model, posterior, prefs.embeddings, replies, key=jax.random.key(0)
        ... )
        >>> bool(np.allclose(best.sum(axis=1), 1.0))
        True
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}: 1 or more is expected")
    rows = check_rows("replies", replies, embeddings.shape[0])
    users, t = posterior.num_users, len(rows)
    out = np.zeros((users, t), np.float32)
    size = max(1, _DRAWS_AT_A_TIME // (draws * t))
    table = np.asarray(rewards(model, embeddings).table)[rows]
    for at in range(0, users, size):
        some = posterior.take(np.arange(at, min(at + size, users)))
        weights = sample_weights(some, draws, key=jax.random.fold_in(key, at))
        best = np.argmax(weights @ table.T, axis=2)
        out[at : at + size] = np.stack([(best == i).mean(axis=1) for i in range(t)], axis=1)
    return out


def is_done(
    questions: Questions,
    least_gain: float,
    best: Float[np.ndarray, "users t"] | None = None,
    settled: float = 1.0,
) -> Bool[np.ndarray, " users"]:
    """Which users need no further question.

    Args:
        questions: the next ones, from `ask`.
        least_gain: what an answer must be expected to be worth, in the units of `questions.gain`.
        best: `probability_of_best` of the replies among which one will be picked.
        settled: the probability from which on the pick is settled.

    Returns:
        True where the next answer is worth less, none can be asked, or the pick is settled.

    Raises:
        ValueError: a bound is no number, below 0, or `settled` is no probability.

    Example:
        >>> questions = ask(model, posterior, shots)
        >>> bool(is_done(questions, 0.0).any())
        False
    """
    if not least_gain >= 0.0:
        raise ValueError(f"least_gain is {least_gain}: 0 or more is expected")
    if not 0.0 < settled <= 1.0:
        raise ValueError(f"settled is {settled}: a probability above 0 and at most 1 is expected")
    done = (questions.gain[:, 0] < least_gain) | (questions.index[:, 0] < 0)
    if best is not None:
        done |= best.max(axis=1) >= settled
    return done
