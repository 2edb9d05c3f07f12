"""Ratings and votes, one response a row, become pairs of a higher and a lower rated response.

    user_id, completion | response | reply | text, label | rating | score | vote

The response is a text, a list of one message of the assistant (as in TRL's KTO), or an integer, a
row of an array of embeddings. A rating is a number, true or false, or up or down. Optional: prompt
(a text or messages) and prompt_id; without either, all responses answer one prompt. Pairs are drawn
within a user and a prompt; equal ratings make none. Where most users rate one response a prompt, as
in data for KTO, that would leave next to nothing: they are then drawn within a user, across
prompts, as if all answered one, and the note says so. Where a user has rated a response again, the
last rating counts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from lore_jax.data.feedback_splits import most_rate_one_a_prompt
from lore_jax.datasets.formats.messages import (
    Message,
    check_prompt,
    check_reply,
    kind_of,
    parse_messages,
    short,
)
from lore_jax.datasets.formats.records import BadRows, Row, RowSource, read_records
from lore_jax.datasets.formats.rows import (
    IndexPairs,
    ResponseTable,
    TextPairs,
    index_pairs,
    no_rows,
    response_row,
    row_name,
)

RESPONSE = ("completion", "response", "reply", "text")
RATING = ("label", "rating", "score", "vote")
ACROSS_PROMPTS = "Most users rated one reply a prompt: pairs are of replies to different prompts."
_LEVELS_OF_SCORES = 7  # of numbers without a scale of few steps
_WORDS = {"up": 1.0, "down": 0.0, "true": 1.0, "false": 0.0}

# Of one row: the response's number, and the prompt where prompt_id is absent.
_ParseRow = Callable[[Row, str], tuple[int, Hashable]]


def rating_columns(row: Row) -> tuple[str, str] | None:
    """The columns of the response and of its rating; None: the row is no rating.

    Example:
        >>> rating_columns({"user_id": "ann", "prompt": "Hi", "completion": "Yes?", "label": True})
        ('completion', 'label')
    """
    if "chosen" in row or "rejected" in row:
        return None
    response, rating = ([name for name in names if name in row] for names in (RESPONSE, RATING))
    return (response[0], rating[0]) if response and rating else None


def read_text_ratings(
    path: RowSource, *, seed: int, max_pairs: int, bad: BadRows | None = None
) -> TextPairs:
    """Reads ratings of texts; every rated text is a response, whether a pair has it or not.

    Args:
        path: a JSONL, Parquet or CSV file.
        seed: seed of the draws of pairs.
        max_pairs: the most pairs drawn for a user.
        bad: what is done with rows that are not what they should be; None: they are refused.

    Returns:
        Responses and pairs; the note says what became of what.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row is not what it should be, or nobody rated two responses differently.

    Example:
        >>> pairs = read_text_ratings("votes.csv", seed=0, max_pairs=60)  # doctest: +SKIP
        >>> pairs.note  # doctest: +SKIP
        '12,040 ratings 1-5 of 300 users on 2,000 responses became 9,120 pairs.'
    """
    table = ResponseTable()

    def parse(row: Row, column: str) -> tuple[int, Hashable]:
        prompt = prompt_of(row["prompt"]) if "prompt" in row else ()
        return table.row(prompt, reply_of(column, row[column])), prompt

    pairs = _read(path, parse, seed=seed, max_pairs=max_pairs, bad=bad)
    return TextPairs(**vars(pairs), responses=table.responses)


def read_index_ratings(
    path: RowSource,
    num_responses: int,
    *,
    seed: int,
    max_pairs: int,
    bad: BadRows | None = None,
) -> IndexPairs:
    """Reads ratings of rows of an embedding array; otherwise as `read_text_ratings`."""

    def parse(row: Row, column: str) -> tuple[int, Hashable]:
        response = response_row(column, number_of(row[column]), num_responses)
        return response, json.dumps(row.get("prompt"), sort_keys=True, default=str)

    return _read(path, parse, seed=seed, max_pairs=max_pairs, bad=bad)


def is_index(value: object) -> bool:
    """Whether a response is a row of an array: an integer, or (in CSV) digits."""
    return type(number_of(value)) is int


def pairs_of_ratings(
    group: Int[np.ndarray, " ratings"],
    rating: Float[np.ndarray, " ratings"],
    max_pairs: int,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Draws distinct pairs of a higher and a lower rating of one group, of one user's ratings.

    Args:
        group: what may be compared with each other.
        rating: the ratings.
        max_pairs: the most pairs.
        rng: draws them, without replacement, from all of them.

    Returns:
        The positions of the higher and of the lower rating of each pair.

    Example:
        >>> group, rating = np.zeros(3, int), np.array([1.0, 3.0, 3.0])
        >>> pairs_of_ratings(group, rating, 9, np.random.default_rng(0))[1].tolist()
        [0, 0]
    """
    order = np.lexsort((rating, group))
    group, rating = group[order], rating[order]
    is_first = np.append(True, group[1:] != group[:-1])
    is_higher = is_first | np.append(True, rating[1:] != rating[:-1])
    position = np.arange(len(order))
    start = np.maximum.accumulate(np.where(is_first, position, 0))
    # The responses rated lower than one are those from the group's start to its own rating's.
    lower = np.maximum.accumulate(np.where(is_higher, position, 0)) - start
    total = np.cumsum(lower)
    drawn = rng.choice(total[-1], min(int(total[-1]), max_pairs), replace=False)
    high = np.searchsorted(total, drawn, side="right")
    return order[high], order[start[high] + drawn - (total[high] - lower[high])]


def _read(
    path: RowSource,
    parse: _ParseRow,
    *,
    seed: int,
    max_pairs: int,
    bad: BadRows | None,
) -> IndexPairs:
    users: dict[str, int] = {}
    prompts: dict[Hashable, int] = {}
    ratings: dict[tuple[int, int, int], float] = {}  # by user, prompt and response
    num_rows, bad = 0, bad or BadRows(skip=False)
    columns: tuple[str, str] | None = None
    for where, row in read_records(path, bad):
        try:
            columns = columns or rating_columns(row)
            for name in ("user_id", *(columns or (RESPONSE[0], RATING[0]))):
                if name not in row:
                    raise ValueError(f"column {name!r} is missing; found {', '.join(row)[:200]}")
            assert columns is not None
            user_id, value = row_name("user_id", row["user_id"]), rating_of(*columns[1:], row)
            prompt_id = row_name("prompt_id", row["prompt_id"]) if "prompt_id" in row else None
            response, prompt = parse(row, columns[0])  # last: it numbers what it finds
        except ValueError as error:
            bad.add(f"{where}: {error}")
            continue
        user = users.setdefault(user_id, len(users))
        key = prompts.setdefault(prompt if prompt_id is None else prompt_id, len(prompts))
        ratings[user, key, response] = value
        num_rows += 1
    if not ratings:
        raise no_rows(path, bad)
    keys, values = np.array(list(ratings)), np.array(list(ratings.values()))
    across = most_rate_one_a_prompt(keys[:, 0], keys[:, 1], values)
    if across:
        keys[:, 1] = 0
    rng, drawn = np.random.default_rng(seed), []
    order = np.argsort(keys[:, 0], kind="stable")
    bounds = np.searchsorted(keys[order, 0], np.arange(len(users) + 1))
    for start, stop in itertools.pairwise(bounds):
        own = order[start:stop]
        high, low = pairs_of_ratings(keys[own, 1], values[own], max_pairs, rng)
        user, prompt, response = keys[own[high]].T
        drawn.append(np.stack([response, keys[own[low], 2], user, prompt], axis=1))
    pairs, num_responses = np.concatenate(drawn), len(np.unique(keys[:, 2]))
    text = (
        f"{len(ratings):,} {_kind(values)} of {len(users):,} users on {num_responses:,} responses"
    )
    if not len(pairs):
        raise ValueError(f"{path}: {text} make no pair: nobody rated two of them differently")
    more = f" {ACROSS_PROMPTS}" if across else ""
    fields = {
        **vars(index_pairs(pairs, list(users))),
        "note": f"{text} became {len(pairs):,} pairs.{more}",
        "across_prompts": across,
        "counts": {"replaced_ratings": num_rows - len(ratings)},
    }
    return IndexPairs(**fields)


def _kind(values: Float[np.ndarray, " ratings"]) -> str:
    distinct = set(np.unique(values).tolist())
    if distinct <= {0.0, 1.0} or distinct <= {-1.0, 1.0}:
        return "ratings up or down"
    return f"ratings {min(distinct):g} to {max(distinct):g}"


def levels_of_scores(
    values: Float[np.ndarray, " ratings"],
) -> tuple[Int[np.ndarray, " ratings"], int]:
    """Levels of equal frequency, nearly, for numbers without a scale of few steps; and how many.

    Example:
        >>> levels, count = levels_of_scores(np.arange(1.0, 101.0))
        >>> count, np.bincount(levels).tolist()
        (7, [15, 14, 14, 14, 14, 14, 15])
    """
    shares = np.arange(1, _LEVELS_OF_SCORES) / _LEVELS_OF_SCORES
    cuts = np.unique(np.quantile(values, shares, method="lower"))  # values that occur
    cuts = cuts[cuts < values.max()]  # so no level is empty
    return np.searchsorted(cuts, values, side="left"), len(cuts) + 1


def rating_of(column: str, row: Mapping[str, object]) -> float:
    """The rating of a row as a number; up is 1, down is 0."""
    value, number = row[column], math.nan
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        number = _WORDS[value.strip().lower()]
    elif isinstance(value, str | int | float):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if math.isfinite(number):
        return number
    got = short(value) if isinstance(value, str | int | float) else kind_of(value)
    raise ValueError(f"{column} is {got}: a number, true or false, up or down, is expected")


def number_of(value: object) -> object:
    """The value, and of digits (in CSV) the integer that they write."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def prompt_of(value: object) -> tuple[Message, ...]:
    """The turns of a prompt, a text or messages."""
    is_text = isinstance(value, str)
    prompt = (Message("user", value),) if is_text else parse_messages("prompt", value)
    if not prompt or not prompt[-1].content.strip():
        raise ValueError("prompt is empty")
    check_prompt("prompt", prompt)
    return prompt


def reply_of(column: str, value: object) -> str:
    """The text of a reply, or of a list of one message of the assistant."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        messages = parse_messages(column, value)
        if [message.role for message in messages] != ["assistant"]:
            raise ValueError(f"{column} has {len(messages)} messages: one reply is expected")
        value = messages[0].content
    if not isinstance(value, str):
        raise ValueError(f"{column} is {kind_of(value)}: a text is expected")
    check_reply(column, value)
    return value
