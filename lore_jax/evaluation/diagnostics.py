"""Has the fit collapsed? How many directions of disagreement, columns of the basis and users are
really in use.

Four things go wrong without a word. A ridge or an anchor that is too strong makes all users the
same; weights that all fall on one column, or columns that are multiples of each other, leave a rank
of one under the name of eight; opinions that all share, kept in everybody's weights and not in the
population, are missed by users of whom nothing is known; columns that nobody weighs, or whose
rewards do not vary, cost time and memory for nothing. Each shows in a number below. The first three
are about rewards, and so do not depend on how the basis is written (V A, A^-1 w); the last is about
the columns as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lore_jax.evaluation.disagreement import axes, reward_spread
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior

_DEAD = 0.01  # of the strongest column: what adds less to rewards is out of use
_SAME = 0.01  # of the average user's rewards: users who add less to them are no different
# of the disagreement: an average user farther from the population than this was not learned as such
_OFFSET = 0.5
_ONE_DIRECTION = 1.05  # an effective rank below it is one direction, whatever the rank


class Collapse(NamedTuple):
    """How much of a fit is in use.

    Attributes:
        shared: root mean square, over responses, of the average user's rewards, in logits.
        disagreement: root mean square, over users and responses, of what users add to them, in
            logits.
        offset: root mean square, over responses, of what the average user adds to the population,
            in logits.
        directions: how many directions of disagreement the model has room for.
        effective_rank: how many are in use: `(sum l)^2 / sum l^2` of their mean squares l; 0 where
            users do not differ.
        same_users: the share of the users who add less than 1 % to the average user's rewards.
        columns: what each column adds to rewards: root mean square of its weights over users times
            that of its rewards over responses, in logits, `[rank]`.
        dead_columns: the columns that add less than 1 % of what the strongest does.
        between: mean square of users' deviations in units of the prior's variance; None without a
            prior.
        within: mean variance of what is not known of a user's deviations, in the same units: where
            the prior fits, `between + within` is near 1.
        warnings: what is wrong, a sentence each.
    """

    shared: float
    disagreement: float
    offset: float
    directions: int
    effective_rank: float
    same_users: float
    columns: np.ndarray
    dead_columns: list[int]
    between: float | None
    within: float | None
    warnings: list[str]


def collapse(
    model: Model, users: Posterior, embeddings: Any, *, prompt: np.ndarray | None = None
) -> Collapse:
    """Looks for collapse.

    Args:
        model: a fitted model.
        users: the users of the fit.
        embeddings: the table over which rewards are compared, `[responses, dim]`.
        prompt: which prompt each response answers, `[responses]`, -1: leave it out; None: all
            answer one.

    Returns:
        The `Collapse`.

    Example:
        >>> found = collapse(model, users, prefs.embeddings, prompt=prompts_of_responses(prefs))
        >>> found.effective_rank, found.warnings
        (2.4, [])
    """
    weights, mean = (
        np.asarray(users.weights, np.float64),
        np.asarray(model.population.mean, np.float64),
    )
    factor = np.asarray(model.population.factor, np.float64)
    spread = reward_spread(model, embeddings, prompt=prompt)
    found = axes(model, weights, embeddings, prompt=prompt, most=0)
    disagreement, square = float(np.sqrt(found.spectrum.sum())), found.spectrum @ found.spectrum
    differ = disagreement > 1e-5 * found.shared
    away = weights - (weights.mean(axis=0) if len(weights) else mean)
    added = np.sqrt(np.maximum(np.einsum("ur,rs,us->u", away, spread, away), 0.0))
    size = np.sqrt(np.mean(weights**2, axis=0) if len(weights) else 0.0 * mean) * np.sqrt(
        np.diag(spread)
    )
    directions = factor.shape[1] if model.family == "gaussian" else len(mean) - 1
    between = within = None
    if factor.shape[1] and len(weights):
        inverse = np.linalg.pinv(factor)
        between = float(np.mean(((weights - mean) @ inverse.T) ** 2))
        covariance = np.asarray(users.covariance, np.float64).mean(axis=0)
        within = float(np.trace(inverse @ covariance @ inverse.T) / factor.shape[1])
    of = Collapse(
        shared=found.shared,
        disagreement=disagreement,
        offset=found.offset,
        directions=directions,
        effective_rank=float(found.spectrum.sum() ** 2 / square) if differ and square else 0.0,
        same_users=float(np.mean(added < _SAME * found.shared)) if len(added) else 0.0,
        columns=size,
        dead_columns=np.flatnonzero(size < _DEAD * size.max(initial=0.0)).tolist(),
        between=between,
        within=within,
        warnings=[],
    )
    return of._replace(
        warnings=_warnings(of, len(weights)) if directions and len(weights) > 1 else []
    )


def _warnings(of: Collapse, users: int) -> list[str]:
    said = []
    if not of.columns.any():
        said.append("no column adds anything to any reward")
    elif of.disagreement < _SAME * of.shared:
        said.append("all users are the same: they add less than 1 % to the rewards that all share")
    elif of.directions > 1 and of.effective_rank < _ONE_DIRECTION:
        said.append(
            f"all disagreement lies in one direction, of {of.directions} that there is room for"
        )
    # An average of few users strays from the population by chance.
    if (
        of.offset > max(_OFFSET, 3.0 / users**0.5) * of.disagreement
        and of.offset > _SAME * of.shared
    ):
        said.append(
            f"the average user adds {of.offset:.2f} logits to the population: what all share is in everybody's weights, and "
            "users of whom nothing is known miss it"
        )
    if of.dead_columns:
        which = ", ".join(map(str, of.dead_columns))
        one = len(of.dead_columns) == 1
        said.append(
            f"column{'' if one else 's'} {which} of {len(of.columns)} add{'s' * one} nothing to rewards"
        )
    return said


def collapse_lines(found: Any) -> list[str]:
    """What `Collapse` says, for people; `found` is its fields as a dictionary, from JSON for
    instance.
    """
    said = [
        f"users of the fit add {found['disagreement']:.2f} logits to rewards of {found['shared']:.2f} that all share",
        f"the average user adds {found['offset']:.2f} logits to the population",
        f"effective rank of the disagreement {found['effective_rank']:.1f} of {found['directions']}, "
        f"{100 * found['same_users']:.0f} % of the users no different from the average",
    ]
    if found["between"] is not None:
        said.append(
            f"deviations, in units of the prior's variance: {found['between']:.2f} between users, "
            f"{found['within']:.2f} not known of each"
        )
    return [*said, *(f"warning: {line}" for line in found["warnings"])]
