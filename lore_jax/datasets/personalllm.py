"""PersonalLLM: eight replies a prompt, scored by ten reward models (Zollo et al. 2025).

A row has `prompt`, `response_1` to `response_8`, and the scores `response_1_gemma_2b` and so on. A
simulated user weighs the ten models, weights ~ Dirichlet(alpha), and compares two replies to a
prompt by the weighted sum of scores: the best of the eight against the worst (as published, and
easy), or two at random (what a user of a system would be asked).

What a user chooses on a prompt is one byte, `8 x chosen + rejected`: 1,000 users on all prompts are
10 MB.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from lore_jax.datasets.formats.hub import Home, locate
from lore_jax.datasets.formats.messages import Message
from lore_jax.datasets.formats.records import Row, data_files, read_rows, require_text
from lore_jax.datasets.formats.rows import Response, ResponseTable, TextPairs, index_pairs
from lore_jax.datasets.leaks import number_texts

HOME = Home("namkoong-lab/PersonalLLM", ("data/*.parquet",))
REWARD_MODELS = (
    *("gemma_2b", "gemma_7b", "mistral_raft", "mistral_ray", "mistral_weqweasdas"),
    *("llama3_sfairx", "oasst_deberta_v3", "beaver_7b", "oasst_pythia_7b", "oasst_pythia_1b"),
)
REPLIES = 8

_USERS_AT_A_TIME = 32
_REPLY_COLUMNS = [f"response_{number}" for number in range(1, REPLIES + 1)]
_SCORE_COLUMNS = [[f"{reply}_{model}" for model in REWARD_MODELS] for reply in _REPLY_COLUMNS]
_COLUMNS = ("prompt", *_REPLY_COLUMNS, *chain.from_iterable(_SCORE_COLUMNS))

PairKind = Literal["best against worst", "random"]


class PersonalLLM(NamedTuple):
    """The replies to each prompt and what the reward models say of them.

    Attributes:
        row: the table's row of each reply, int32 `[prompts, 8]`.
        scores: of the ten reward models, float32 `[prompts, 8, 10]`.
        is_test: whether a prompt belongs to the published test, bool `[prompts]`.
        responses: the table's texts; empty for a synthetic table.
        counts: what was read and dropped.
    """

    row: Int[np.ndarray, "prompts replies"]
    scores: Float[np.ndarray, "prompts replies models"]
    is_test: Bool[np.ndarray, " prompts"]
    responses: list[Response]
    counts: dict[str, int]

    def standardised(self) -> Float[np.ndarray, "prompts replies models"]:
        """Scores with mean 0 and variance 1 over the replies to the training prompts."""
        train = self.scores[~self.is_test].reshape(-1, self.scores.shape[-1])
        return (self.scores - train.mean(axis=0)) / train.std(axis=0)

    def pairs(self) -> TextPairs:
        """Every reward model as a user who compares the best and the worst reply; for `embed`."""
        models = self.scores.shape[-1]
        weights, kind = np.eye(models), "best against worst"
        columns = draw_pairs(self.row, self.scores, weights, None, kind, seed=0)
        pairs = index_pairs(np.stack(columns, axis=1), list(REWARD_MODELS[:models]))
        return TextPairs(**vars(pairs), responses=self.responses)


def read_personalllm(data: str | os.PathLike[str]) -> PersonalLLM:
    """Reads prompts, replies and scores; drops training prompts that share a text with the test.

    Args:
        data: a folder with the published files, whose names say "train" or "test", or
            `namkoong-lab/PersonalLLM` to fetch them.

    Returns:
        The table; prompts that are given twice are read once.

    Raises:
        FileNotFoundError: one of the two splits is missing.
        ValueError: a row is not what it should be; the message says where.

    Example:
        >>> table = read_personalllm("PersonalLLM")  # doctest: +SKIP
        >>> table.scores.shape, int(table.is_test.sum())  # doctest: +SKIP
        ((10402, 8, 10), 1000)
    """
    root = locate(data, HOME)
    table, counts = ResponseTable(), Counter[str]()
    rows: list[list[int]] = []
    scores: list[list[list[float]]] = []
    is_test: list[bool] = []
    seen: set[tuple[str, str]] = set()
    for split in ("train", "test"):
        for where, row in read_rows(data_files(root, split), _COLUMNS):
            text = require_text(where, "prompt", row["prompt"])
            counts[f"{split} prompts"] += 1
            if (split, text) in seen:
                counts[f"{split} prompts dropped: duplicated"] += 1
                continue
            seen.add((split, text))
            prompt = (Message("user", text),)
            texts = [require_text(where, name, row[name]) for name in _REPLY_COLUMNS]
            rows.append([table.row(prompt, text) for text in texts])
            scores.append(
                [[_score(where, name, row) for name in names] for names in _SCORE_COLUMNS]
            )
            is_test.append(split == "test")
    row_of, test = np.array(rows, np.int32), np.array(is_test)
    shared = number_texts(table.responses).shared(row_of[test].ravel())[row_of].any(axis=1)
    keep = test | ~shared
    counts["train prompts dropped: a text of the test"] += int((~keep).sum())
    if not (keep & ~test).any():
        raise ValueError(f"{data} holds no training prompt that shares no text with the test")
    kept_scores = np.array(scores, np.float32)[keep]
    return PersonalLLM(row_of[keep], kept_scores, test[keep], table.responses, dict(+counts))


def draw_users(
    num_users: int, alpha: float, *, seed: int, models: int = len(REWARD_MODELS)
) -> Float[np.ndarray, "users models"]:
    """Weights of simulated users, Dirichlet(alpha).

    Args:
        num_users: the number of users.
        alpha: the concentration; small: most users follow one reward model.
        seed: seed of the draw.
        models: the number of reward models.

    Returns:
        float32 `[users, models]`; each row sums to 1.

    Raises:
        ValueError: alpha is not positive.

    Reference:
        Zollo et al. 2025, arXiv 2409.20296, section 3.
    """
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}: a positive number is expected")
    # Through logarithms: for alpha = .001 gamma variates are too small for any float, and their
    # quotients are not.
    rng = np.random.default_rng(seed)
    logs = np.log(rng.gamma(alpha + 1.0, size=(num_users, models)))
    logs += np.log(rng.random((num_users, models))) / alpha
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def choices(
    scores: Float[np.ndarray, "prompts replies models"],
    weights: Float[np.ndarray, "users models"],
    kind: PairKind,
    *,
    seed: int,
) -> UInt8[np.ndarray, "users prompts"]:
    """What every user chooses on every prompt: `8 x chosen + rejected`, replies numbered from 0.

    Args:
        scores: of the reward models, `[prompts, 8, models]`.
        weights: of the users, `[users, models]`.
        kind: which two replies are compared.
        seed: draws the two replies, for random pairs.

    Returns:
        uint8 `[users, prompts]`. Where a user finds two replies equally good, chosen equals
        rejected: no pair.

    Raises:
        ValueError: an unknown kind.

    Example:
        >>> scores = np.arange(16.0).reshape(2, 8, 1)
        >>> choices(scores, np.ones((1, 1)), "best against worst", seed=0).tolist()
        [[56, 56]]
    """
    if kind not in ("best against worst", "random"):
        raise ValueError(f"kind is {kind!r}: 'best against worst' or 'random' is expected")
    prompts, replies = scores.shape[:2]
    rng = np.random.default_rng(seed)
    code = np.empty((len(weights), prompts), np.uint8)
    by_model = scores.reshape(prompts * replies, -1).T.astype(np.float32)
    for start in range(0, len(weights), _USERS_AT_A_TIME):
        utility = weights[start : start + _USERS_AT_A_TIME] @ by_model
        utility = utility.reshape(-1, prompts, replies)
        if kind == "random":
            first = rng.integers(replies, size=utility.shape[:2])
            second = (first + rng.integers(1, replies, size=first.shape)) % replies
            both = np.take_along_axis(utility, np.stack([first, second], axis=2), 2)
            a, b = both[..., 0], both[..., 1]
            best, worst = np.where(a >= b, first, second), np.where(a > b, second, first)
        else:
            best, worst = utility.argmax(axis=2), utility.argmin(axis=2)
        code[start : start + len(utility)] = REPLIES * best + worst
    return code


def draw_pairs(
    row: Int[np.ndarray, "prompts replies"],
    scores: Float[np.ndarray, "prompts replies models"],
    weights: Float[np.ndarray, "users models"],
    per_user: int | None,
    kind: PairKind,
    *,
    seed: int,
) -> tuple[Int[np.ndarray, " pairs"], ...]:
    """Pairs of simulated users over the table.

    Args:
        row: the table's row of each reply.
        scores: of the reward models on the same prompts.
        weights: of the users.
        per_user: prompts of each user, drawn without replacement; None: all of them.
        kind: which two replies are compared.
        seed: seed of the draws.

    Returns:
        Chosen, rejected, user and prompt, int32; without ties and pairs of equal texts.

    Raises:
        ValueError: more prompts are asked for than there are.
    """
    if per_user is not None and per_user > len(row):
        raise ValueError(f"{per_user} prompts a user are asked for, there are {len(row)}")
    code = choices(scores, weights, kind, seed=seed)
    if per_user is None:
        user, prompt = np.divmod(np.arange(code.size), len(row))
    else:
        rng = np.random.default_rng([seed, 1])
        drawn = [rng.choice(len(row), per_user, replace=False) for _ in weights]
        user, prompt = np.repeat(np.arange(len(weights)), per_user), np.concatenate(drawn)
    chosen, rejected = np.divmod(code[user, prompt], REPLIES)
    columns = (row[prompt, chosen], row[prompt, rejected], user, prompt)
    differ = columns[0] != columns[1]
    return tuple(column[differ].astype(np.int32) for column in columns)


def _score(where: str, name: str, row: Row) -> float:
    value = row[name]
    if isinstance(value, int | float) and type(value) is not bool and np.isfinite(value):
        return value
    raise ValueError(f"{where}: {name} is {value!r}: a finite number is expected")
