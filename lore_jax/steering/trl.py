"""A personal reward for TRL's trainers (GRPO, RLOO); neither TRL nor PyTorch is needed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lore_jax.data.encoder_identity import check_encoder
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior
from lore_jax.steering.candidates import find_candidates, moments
from lore_jax.steering.texts import Encoder, Prompt, Reply, conversation, reply_text

RewardFunction = Callable[..., list[float | None]]


def trl_reward(
    model: Model,
    posterior: Posterior,
    encoder: Encoder,
    *,
    caution: float = 0.0,
    empty_reward: float | None = None,
) -> RewardFunction:
    """The function that TRL's trainers take in `reward_funcs`: rewards for each row's own user.

    `f(prompts, completions, user_id, **columns) -> rewards`, `w_u . R(prompt, completion)` in
    logits, less `caution` standard deviations of it against the mean of the completions of the same
    prompt and user: what is new to the model then pays less, and a policy that looks for its
    mistakes finds less. The data set needs a column `user_id`; None in it is somebody who has said
    nothing.

    Args:
        model: a fitted model.
        posterior: of the users, with names (`user_ids`), or they are numbered.
        encoder: what made the embeddings of the fit; as of `score_texts`, another one is refused
            where it can be told.
        caution: 0: the expected reward.
        empty_reward: of empty completions, which have no embedding; None: they have no reward, and
            TRL leaves them out.

    Returns:
        The function; plain and conversational prompts and completions are understood.

    Raises:
        ValueError: `caution` is negative, or the encoder is another than the fit's. The function
            raises it where the column is missing, a user is not known, or a completion cannot be
            embedded.

    Example:
        >>> class Letters:
        ...     def encode(self, texts):
        ...         return np.array([[len(str(text))] * 8 for text in texts], np.float32)
        >>> reward = trl_reward(model, posterior, Letters())
        >>> [type(value) for value in reward(["Tea?"], ["Yes."], user_id=[None])]
        [<class 'float'>]
    """
    if not 0.0 <= caution < np.inf:
        raise ValueError(f"caution is {caution}: a number of 0 or more is expected")
    check_encoder(encoder, model.encoder)
    names = np.arange(posterior.num_users) if posterior.user_ids is None else posterior.user_ids
    number = {str(name): at for at, name in enumerate(names)}
    rank = model.rank
    nobody = np.asarray(model.prior.mean)[None], np.asarray(model.prior.covariance)[None]
    covariance = posterior.covariance
    if covariance is None:
        covariance = np.zeros((posterior.num_users, rank, rank), np.float32)
    # The last row is somebody who has said nothing.
    weights = np.concatenate([np.asarray(posterior.weights), nobody[0]])
    covariance = np.concatenate([np.asarray(covariance), nobody[1]])

    def user_of(name: object) -> int:
        if name is None:
            return len(weights) - 1
        if str(name) not in number:
            raise ValueError(f"user_id {name!r} is not among the {len(number)} users with weights")
        return number[str(name)]

    def personal_reward(
        prompts: Sequence[Prompt],
        completions: Sequence[Reply],
        user_id: Sequence[object] | None = None,
        **_columns: Any,
    ) -> list[float | None]:
        if user_id is None:
            raise ValueError("user_id is missing: the data set needs a column of that name")
        users = np.array([user_of(name) for name in user_id], np.int64)
        result: list[float | None] = [empty_reward] * len(completions)
        full = [at for at, reply in enumerate(completions) if reply_text(reply).strip()]
        if not full:
            return result
        texts = [conversation(prompts[at], completions[at], f"completion {at}") for at in full]
        table = np.asarray(encoder.encode(texts))
        known = np.asarray(rewards(model, table).table)
        values = np.einsum("nk,nk->n", known, weights[users[full]])
        if caution:
            values = values - caution * spread(table, [prompts[at] for at in full], users[full])
        for at, value in zip(full, values.tolist(), strict=True):
            result[at] = value
        return result

    def spread(table: np.ndarray, prompts: Sequence[Prompt], users: np.ndarray) -> np.ndarray:
        """Standard deviations against the mean of the same prompt's and user's completions."""
        found, groups = np.zeros(len(table)), {}
        for at, (prompt, user) in enumerate(zip(prompts, users.tolist(), strict=True)):
            groups.setdefault((json.dumps(prompt), user), []).append(at)
        for (_, user), rows in groups.items():
            some = find_candidates(model, table, rows, 1)
            found[rows] = moments(some, weights[[user]], covariance[[user]]).spread[0]
        return found

    return personal_reward
