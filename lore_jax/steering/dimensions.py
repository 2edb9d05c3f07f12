"""Declared dimensions of preference as a basis: a column for each, with its name.

Personalized Soups declares what people may differ in (expertise, informativeness, style) and gives
each pole a prompt. Here a dimension is a direction of embeddings, from the responses that one pole
makes and those that the other makes of the same prompts. With `D` the differences of such pairs,
over the scale of the embeddings, a column is the least direction that tells them apart,

    argmin_v  sum_pairs -log sigma(v . d) + ridge / 2 |v|^2,

ridge Bradley-Terry on the labels. Columns are then made comparable: each has rewards of standard
deviation 1 over the responses of all dimensions' pairs. A user's weight on a column says how much
the user prefers its first pole, in logits for one such standard deviation: learned from answers, or
declared ("concise: strongly, technical: somewhat") as the mean of a prior that answers correct.

Reference:
    Jang et al. 2023, "Personalized Soups", arXiv 2310.11564, table 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import expit

from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, rms_row_norm
from lore_jax.model.prior import GaussianPrior

# What a word says, in logits for a standard deviation of the dimension's rewards.
WORDS: dict[str, float] = {
    "strongly": 2.0,
    "clearly": 1.0,
    "somewhat": 0.5,
    "no": 0.0,
}


class Dimension(NamedTuple):
    """A dimension with labelled pairs.

    Attributes:
        name: of the column; its first pole ("concise").
        first: rows of responses at the first pole, `[pairs]`.
        second: rows of responses to the same prompts at the other pole, `[pairs]`.
    """

    name: str
    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]


class Pole(NamedTuple):
    """The prompts of a dimension's two poles, for whoever makes the responses.

    Attributes:
        name: of the dimension.
        first: instruction of the first pole.
        second: of the other.
    """

    name: str
    first: str
    second: str


# The dimensions of the paper (P1, P2, P3); instructions of our own.
POLES = (
    Pole(
        "elementary",
        "Answer so that a child in elementary school understands.",
        "Answer for an expert of the field, in its terms.",
    ),
    Pole(
        "concise",
        "Answer in as few words as will do.",
        "Answer at length, with all that is worth knowing.",
    ),
    Pole(
        "friendly",
        "Answer in a friendly and witty way.",
        "Answer in an unfriendly way.",
    ),
)


def declared_basis(
    embeddings: Float[np.ndarray, "responses dim"],
    dimensions: Sequence[Dimension],
    *,
    ridge: float = 1.0,
    spread: float = 1.0,
) -> Model:
    """A model whose columns are declared dimensions, before anybody has said anything.

    Args:
        embeddings: table of the responses at the poles, `[responses, dim]`.
        dimensions: one a column.
        ridge: of the directions, for embeddings of root mean square norm 1.
        spread: standard deviation of users' weights around what they declare, in logits.

    Returns:
        A model of rank `len(dimensions)` with prior `N(0, spread^2 I)`; users are adapted to it as
        to a fitted one.

    Raises:
        ValueError: there are no dimensions, two have one name, a dimension has no pairs, as many
            rows at both poles are not given, a row is not there, or a dimension is one-sided:
            some text stands at both of its poles, or nothing tells them apart.

    Example:
        >>> rows = np.arange(10)
        >>> declared_basis(np.asarray(prefs.embeddings), [Dimension("long", rows, rows + 20)])
        Model(LinearBasis, dim 8, rank 1, GaussianPrior)
    """
    table = np.asarray(embeddings, np.float32)
    _check(table, dimensions, ridge, spread)
    scale, columns = rms_row_norm(table), []
    for dimension in dimensions:
        apart = (table[dimension.first] - table[dimension.second]).astype(np.float64) / scale
        if not np.abs(apart).max() > 1e-6:
            raise ValueError(f"dimension {dimension.name!r}: its poles have the same embeddings")

        def objective(direction: np.ndarray, apart: np.ndarray = apart) -> tuple[float, np.ndarray]:
            margins = apart @ direction
            loss = np.logaddexp(0.0, -margins).sum() + 0.5 * ridge * direction @ direction
            return float(loss), ridge * direction - apart.T @ expit(-margins)

        found = minimize(objective, np.zeros(table.shape[1]), jac=True, method="L-BFGS-B")
        direction = found.x
        columns.append(direction)
    used = np.unique(np.concatenate([np.concatenate(one[1:]) for one in dimensions]))
    matrix = np.stack(columns, axis=1)
    matrix /= np.maximum((table[used] / scale @ matrix).std(axis=0), 1e-12)
    rank = len(dimensions)
    prior = GaussianPrior(jnp.zeros(rank), spread * jnp.eye(rank))
    params = {"V": jnp.asarray(matrix, jnp.float32)}
    return Model(LinearBasis(rank), params, jnp.asarray(scale, jnp.float32), prior)


def declare(model: Model, dimensions: Sequence[str], declared: Mapping[str, str | float]) -> Model:
    """The model for people who declare what they prefer: the prior's mean is what they say.

    Args:
        model: by `declared_basis`.
        dimensions: names of its columns.
        declared: dimensions to weights in logits, or to "strongly", "clearly", "somewhat", "no",
            after "not" for the other pole ("not strongly" is a strong wish for it).

    Returns:
        The model; `adapt` lets answers correct what was declared.

    Raises:
        ValueError: a dimension or a word is not known.

    Example:
        >>> rows = np.arange(10)
        >>> long = Dimension("long", rows, rows + 20)
        >>> model = declared_basis(np.asarray(prefs.embeddings), [long])
        >>> declare(model, ["long"], {"long": "not somewhat"}).prior.mean
        Array([-0.5], dtype=float32)
    """
    if len(dimensions) != model.rank:
        raise ValueError(f"{len(dimensions)} names are given for {model.rank} columns")
    mean = np.asarray(model.prior.mean, np.float32).copy()
    for name, value in declared.items():
        if name not in dimensions:
            known = ", ".join(map(repr, dimensions))
            raise ValueError(f"{name!r} is no dimension: {known} are there")
        mean[list(dimensions).index(name)] = _weight(name, value)
    prior = model.prior.replace(mean=jnp.asarray(mean))  # pyright: ignore[reportAttributeAccessIssue]
    return dataclasses.replace(model, prior=prior)


def _weight(name: str, value: Any) -> float:
    if isinstance(value, str):
        word = value.removeprefix("not ")
        if word not in WORDS:
            known = ", ".join(map(repr, WORDS))
            raise ValueError(f"{name!r} is {value!r}: one of {known}, or a number, is expected")
        return -WORDS[word] if value.startswith("not ") else WORDS[word]
    if not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{name!r} is {value!r}: a word or a finite number is expected")
    return float(value)


def _check(table: np.ndarray, dimensions: Sequence[Dimension], ridge: float, spread: float) -> None:
    if not dimensions:
        raise ValueError("there are 0 dimensions: 1 or more is expected")
    names = [dimension.name for dimension in dimensions]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"dimension {twice[0]!r} is there twice")
    for name, value in (("ridge", ridge), ("spread", spread)):
        if not 0.0 < value < np.inf:
            raise ValueError(f"{name} is {value}: a positive number is expected")
    for name, first, second in dimensions:
        label = f"dimension {name!r}"
        if len(first) != len(second) or not len(first):
            sides = f"{len(first)} responses at one pole and {len(second)} at the other"
            raise ValueError(f"{label} is one-sided, with {sides}: pairs are expected")
        rows = np.concatenate([first, second])
        if rows.min() < 0 or rows.max() >= len(table):
            bad = rows[(rows < 0) | (rows >= len(table))][0]
            raise ValueError(f"{label} holds row {bad}, outside a table of {len(table)} responses")
        if both := sorted(set(map(int, first)) & set(map(int, second))):
            raise ValueError(f"{label}: row {both[0]} stands at both poles")
        if not np.isfinite(table[rows]).all():
            bad = rows[~np.isfinite(table[rows]).all(axis=1)][0]
            raise ValueError(f"{label}: row {bad} of the embeddings is not finite")
