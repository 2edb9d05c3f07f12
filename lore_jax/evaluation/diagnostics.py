"""How much of a fit is in use: directions of disagreement, columns of the basis, and users.

Four things can go wrong unnoticed. A ridge or an anchor that is too strong makes all users the
same. Weights on one column, or columns that are multiples of each other, leave a rank of one.
Opinions that all users share, kept in their weights and not in the population, are missed by users
without shots. Columns without weight, or whose rewards do not vary, cost time and memory; this
alone depends on how the basis is written (V A, A^-1 w).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from lore_jax.evaluation.disagreement import PromptIds, Table, axes
from lore_jax.evaluation.schema import Diagnostics
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior

_DEAD = 0.01  # of the strongest column: a column that adds less to rewards is out of use
_SAME = 0.01  # of the average user's rewards: users who add less to them are no different
_OFFSET = 0.5  # of the disagreement: farther from the population, its mean was not learned
_ONE_DIRECTION = 1.05  # an effective rank below it is one direction, whatever the rank


def diagnose(
    model: Model, users: Posterior, embeddings: Table, *, prompt: PromptIds = None
) -> Diagnostics:
    """Measures how much of a fit is in use, and warns of what is not.

    Args:
        model: a fitted model.
        users: the users of the fit.
        embeddings: the table over which rewards are compared.
        prompt: which prompt each response answers, -1: leave it out; None: all answer one.

    Returns:
        The `Diagnostics`.

    Example:
        >>> diagnose(model, posterior, prefs.embeddings)["effective_rank"]  # doctest: +SKIP
        2.4
    """
    weights, mean = np.asarray(users.weights, np.float64), np.asarray(model.prior.mean, np.float64)
    whitening = _whitening(np.asarray(model.prior.covariance, np.float64))
    result = axes(model, weights, embeddings, prompt=prompt, most=0)
    spectrum = result.spectrum
    disagreement, square = float(np.sqrt(spectrum.sum())), spectrum @ spectrum
    differ = disagreement > 1e-5 * result.shared
    deviations = weights - (weights.mean(axis=0) if len(weights) else mean)
    squares = np.einsum("ur,rs,us->u", deviations, result.spread, deviations)
    added = np.sqrt(np.maximum(squares, 0.0))
    scale = np.sqrt(np.mean(weights**2, axis=0)) if len(weights) else 0.0 * mean
    columns = scale * np.sqrt(np.diag(result.spread))
    # Without a prior distribution weights sum to 1, or there is one column.
    directions = len(whitening) or len(mean) - 1
    between = within = None
    if len(whitening) and len(weights):
        between = float(np.mean(((weights - mean) @ whitening.T) ** 2))
        covariance = np.asarray(users.covariance, np.float64).mean(axis=0)
        within = float(np.trace(whitening @ covariance @ whitening.T) / len(whitening))
    diagnostics: Diagnostics = {
        "shared": result.shared,
        "disagreement": disagreement,
        "offset": result.offset,
        "directions": directions,
        "effective_rank": float(spectrum.sum() ** 2 / square) if differ and square else 0.0,
        "same_users": float(np.mean(added < _SAME * result.shared)) if len(added) else 0.0,
        "columns": columns.tolist(),
        "dead_columns": np.flatnonzero(columns < _DEAD * columns.max(initial=0.0)).tolist(),
        "between": between,
        "within": within,
        "warnings": [],
    }
    if directions and len(weights) > 1:
        diagnostics["warnings"] = _warnings(diagnostics, len(weights))
    return diagnostics


def _whitening(covariance: Float[np.ndarray, "rank rank"]) -> Float[np.ndarray, "directions rank"]:
    """W with `W C W' = I` over the directions in which the prior has variance."""
    values, vectors = np.linalg.eigh(covariance)
    varies = values > 1e-6 * values.max(initial=0.0)  # below is the rounding of float32
    return (vectors[:, varies] / np.sqrt(values[varies])).T


def _warnings(fit: Diagnostics, num_users: int) -> list[str]:
    warnings = []
    disagreement, directions = fit["disagreement"], fit["directions"]
    if not any(fit["columns"]):
        warnings.append("no column adds anything to any reward")
    elif disagreement < _SAME * fit["shared"]:
        text = "all users are the same: they add less than 1 % to the rewards that all share"
        warnings.append(text)
    elif directions > 1 and fit["effective_rank"] < _ONE_DIRECTION:
        warnings.append(f"all disagreement lies in one direction, of {directions} possible ones")
    # An average of few users strays from the population by chance.
    tolerance = max(_OFFSET, 3.0 / num_users**0.5) * disagreement
    if fit["offset"] > max(tolerance, _SAME * fit["shared"]):
        warnings.append(
            f"the average user adds {fit['offset']:.2f} logits to the population: what all users "
            "share is in their weights, and users without shots miss it"
        )
    if dead := fit["dead_columns"]:
        names = f"column{'s' * (len(dead) > 1)} {', '.join(map(str, dead))}"
        add = "adds" if len(dead) == 1 else "add"
        warnings.append(f"{names} of {len(fit['columns'])} {add} nothing to rewards")
    return warnings


def diagnostic_lines(fit: Diagnostics) -> list[str]:
    """What `Diagnostics` say, for people."""
    lines = [
        f"users of the fit add {fit['disagreement']:.2f} logits to rewards of {fit['shared']:.2f} "
        "that all share",
        f"the average user adds {fit['offset']:.2f} logits to the population",
        f"effective rank of the disagreement {fit['effective_rank']:.1f} of {fit['directions']}, "
        f"{100 * fit['same_users']:.0f} % of the users no different from the average",
    ]
    if fit["between"] is not None:
        lines.append(
            f"variance of users' deviations, in units of the prior's: {fit['between']:.2f} between "
            f"users, {fit['within']:.2f} uncertainty of each"
        )
    return [*lines, *(f"warning: {warning}" for warning in fit["warnings"])]
