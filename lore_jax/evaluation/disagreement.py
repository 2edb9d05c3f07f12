"""Axes of disagreement: the directions in which users differ, rotated so that they can be named.

A user's weights have no meaning of their own: V A and A^-1 w are the same model. What has one is
what the user adds to the rewards of a table's responses, beyond the average user,

    D[u, j] = (w_u - average w) . t_j
    t_j     = R(e_j) less the average over the responses to the same prompt.

Only responses to one prompt are compared: with their average taken out, the variance over responses
is, up to a factor of two, that of the reward differences of pairs. The origin is the average user:
what all users add to the population is shared. A population far from it was not learned well.

The principal axes of D are those of a small matrix. With the covariance C = T'T / n = L L' of the
rewards over responses, the rows of (w_u - average w) L have the lengths of the rows of D (over sqrt
n). Their singular value decomposition gives the users' coordinates, the shares, and through T L^-T
the responses'; D itself, users x responses, is never formed.

*Varimax* (Kaiser 1958) rotates the strongest so that each response loads on few; users' scores stay
uncorrelated with mean square 1, and the shares of the axes kept add up to the same.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from lore_jax.data.preferences import Preferences
from lore_jax.evaluation.schema import AxesEntry, EndEntry, PickEntry
from lore_jax.model.model import Model, rewards
from lore_jax.model.posterior import Posterior

_LEAST_SHARE = 0.01  # of the disagreement; weaker principal axes are left out
_ENDS = 3  # responses named at each end of an axis
_SWEEPS = 100  # of varimax over all pairs of axes; a handful is enough
_DRAWN_USERS = 2000  # kept of a group for a map
_LONGEST_TEXT = 500

Table = Float[np.ndarray, "responses dim"] | Float[jax.Array, "responses dim"]
PromptIds = Int[np.ndarray, " responses"] | None  # of each response; -1: leave it out
Prompt = str | Sequence[Mapping[str, object]]  # a text, or chat messages


class Axes(NamedTuple):
    """Axes of disagreement, the strongest first.

    Attributes:
        loadings: logits that a score of 1 adds to each response's reward; NaN for those left out.
        scores: positions of the users, in standard deviations (mean square 1 over all users given).
        share: the share of the disagreement that each axis explains.
        population: position of the population, in standard deviations.
        spectrum: mean square of D of each principal axis, all of them, logits squared.
        spread: covariance of t over responses, logits squared.
        shared: root mean square of the average user's rewards over responses, in logits.
        offset: the same of what the average user adds to the population.
    """

    loadings: Float[np.ndarray, "responses axes"]
    scores: Float[np.ndarray, "users axes"]
    share: Float[np.ndarray, " axes"]
    population: Float[np.ndarray, " axes"]
    spectrum: Float[np.ndarray, " directions"]
    spread: Float[np.ndarray, "rank rank"]
    shared: float
    offset: float


def prompts_of_responses(prefs: Preferences) -> Int[np.ndarray, " responses"]:
    """Which prompt each response answers, from the pairs it stands in, int32; -1 if in none."""
    prompt = np.full(prefs.num_responses, -1, np.int32)
    for side in (prefs.chosen, prefs.rejected):
        prompt[side] = prefs.prompt
    return prompt


def axes(
    model: Model,
    weights: Float[np.ndarray, "users rank"] | Float[jax.Array, "users rank"],
    embeddings: Table,
    *,
    prompt: PromptIds = None,
    most: int = 4,
) -> Axes:
    """The axes along which users' rewards differ.

    Args:
        model: a fitted model.
        weights: of the users.
        embeddings: the table over which rewards are compared.
        prompt: which prompt each response answers, -1: leave it out; None: all answer one.
        most: the most axes to keep; those that explain less than 1 % are left out anyway.

    Returns:
        The `Axes`; none where users do not differ.

    Example:
        >>> prompt = prompts_of_responses(prefs)
        >>> axes(model, posterior.weights, prefs.embeddings, prompt=prompt).share  # doctest: +SKIP
        array([0.52, 0.21])

    Reference:
        Kaiser 1958, "The varimax criterion for analytic rotation in factor analysis".
    """
    centred, used = _centred_rewards(model, embeddings, prompt)
    weights, mean = np.asarray(weights, np.float64), np.asarray(model.prior.mean, np.float64)
    average = weights.mean(axis=0) if len(weights) else mean
    spread = centred.T @ centred / max(1, len(centred))
    values, vectors = np.linalg.eigh(spread)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    deviations, population = (weights - average) @ root, (mean - average) @ root
    scale = np.sqrt(max(1, len(deviations)))
    users, sizes, directions = np.linalg.svd(deviations / scale, full_matrices=False)
    spectrum = sizes**2
    total = float(spectrum.sum())
    shared, offset = float(np.linalg.norm(average @ root)), float(np.linalg.norm(population))
    # Below this, what differs is the rounding of float32.
    differ = total > 1e-12 * (shared**2 or 1.0)
    keep = min(most, int((spectrum >= _LEAST_SHARE * total).sum())) if differ else 0
    # T L^-T v has mean square 1 over responses; where rewards do not vary, columns have no part.
    varies = values > 1e-12 * values.max(initial=0.0)
    inverse = np.where(varies, 1.0 / np.sqrt(np.where(varies, values, 1.0)), 0.0)
    principal = centred @ (vectors * inverse) @ directions[:keep].T * sizes[:keep]
    rotation = varimax(principal)
    loadings, scores = principal @ rotation, users[:, :keep] * scale @ rotation
    position = (directions[:keep] @ population / sizes[:keep]) @ rotation
    share = np.mean(loadings**2, axis=0) / (total or 1.0)
    order = np.argsort(-share, kind="stable")
    # An axis has no sign of its own: its largest loading is positive, so that figures do not flip.
    largest = np.abs(loadings).argmax(axis=0) if keep else np.zeros(0, int)
    sign = np.sign(loadings[largest, np.arange(keep)])
    all_loadings = np.full((len(used), keep), np.nan)
    all_loadings[used] = (loadings * sign)[:, order]
    scores, population = (scores * sign)[:, order], (position * sign)[order]
    return Axes(all_loadings, scores, share[order], population, spectrum, spread, shared, offset)


def _centred_rewards(
    model: Model, embeddings: Table, prompt: PromptIds
) -> tuple[Float[np.ndarray, "used rank"], Shaped[np.ndarray, " responses"]]:
    """Rewards less their average over the responses to the same prompt; which responses."""
    table = np.asarray(rewards(model, embeddings).table, np.float64)
    group = np.zeros(len(table), np.int32) if prompt is None else np.asarray(prompt)
    used = group >= 0
    _, index, count = np.unique(group[used], return_inverse=True, return_counts=True)
    total = np.zeros((len(count), table.shape[1]))
    np.add.at(total, index, table[used])
    return table[used] - (total / count[:, None])[index], used


def varimax(loadings: Float[np.ndarray, "responses axes"]) -> Float[np.ndarray, "axes axes"]:
    """The rotation after which squared loadings vary the most within each axis.

    `max sum_k Var_j(l_jk^2)`, by the best angle of two axes at a time until none moves any more.

    Args:
        loadings: of the responses on the axes.

    Returns:
        An orthogonal matrix; `loadings @ rotation` are the rotated ones.

    Example:
        >>> varimax(np.array([[1.0, 1.0], [1.0, -1.0]])).round(2)
        array([[ 0.71, -0.71],
               [ 0.71,  0.71]])

    Reference:
        Kaiser 1958, equations 5 to 8.
    """
    rotation, rotated = np.eye(loadings.shape[1]), loadings.astype(np.float64)
    for _ in range(_SWEEPS):
        largest = 0.0
        for i in range(loadings.shape[1]):
            for j in range(i):
                x, y = rotated[:, j], rotated[:, i]
                u, v = x**2 - y**2, 2.0 * x * y
                # tan(4 angle) = 2 Cov(u, v) / (Var(u) - Var(v)), in the quadrant of the maximum.
                covariance = np.mean((u - u.mean()) * (v - v.mean()))
                angle = 0.25 * np.arctan2(2.0 * covariance, u.var() - v.var())
                turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                rotated[:, [j, i]] = rotated[:, [j, i]] @ turn
                rotation[:, [j, i]] = rotation[:, [j, i]] @ turn
                largest = max(largest, abs(angle))
        if largest < 1e-10:
            break
    return rotation


def describe_axes(
    model: Model, groups: Mapping[str, Posterior], embeddings: Table, *, prompt: PromptIds = None
) -> AxesEntry:
    """What results keep of the axes: shares, the responses at both ends, and the users' scores.

    Args:
        model: a fitted model.
        groups: names ("seen users") to users; the axes are those of all of them together.
        embeddings: the table over which rewards are compared.
        prompt: as for `axes`.

    Returns:
        The `AxesEntry`.

    Example:
        >>> described = describe_axes(model, {"seen users": posterior}, prefs.embeddings)
        >>> described["axes"][0]["share"]  # doctest: +SKIP
        0.52
    """
    weights = np.concatenate([users.weights for users in groups.values()])
    result = axes(model, weights, embeddings, prompt=prompt)

    def end(loading: np.ndarray, sign: float) -> list[EndEntry]:
        order = np.argsort(np.nan_to_num(-sign * loading, nan=np.inf), kind="stable")[:_ENDS]
        rows = [int(row) for row in order if sign * loading[row] > 0]
        return [{"response": row, "loading": float(loading[row])} for row in rows]

    cuts = np.cumsum([users.num_users for users in groups.values()])[:-1]
    scores: dict[str, list[list[float]]] = {}
    names: dict[str, list[str]] = {}
    for (name, users), rows in zip(groups.items(), np.split(result.scores, cuts), strict=True):
        evenly = np.linspace(0, len(rows) - 1, min(len(rows), _DRAWN_USERS)).astype(int)
        scores[name] = rows[evenly].tolist()
        if users.user_ids is not None:
            names[name] = [str(user) for user in users.user_ids[evenly]]
    return {
        "axes": [
            {"share": float(share), "high": end(loading, 1.0), "low": end(loading, -1.0)}
            for share, loading in zip(result.share, result.loadings.T, strict=True)
        ],
        "groups": scores,
        "names": names,
        "population": result.population.tolist(),
        "disagreement": float(np.sqrt(result.spectrum.sum())),
        "shared": result.shared,
    }


def with_texts(described: AxesEntry, texts: Iterable[tuple[Prompt, str]]) -> AxesEntry:
    """What `describe_axes` returns, each end with its `prompt` and `text`, cut at 500 characters.

    Args:
        described: from `describe_axes`, with `picks` or without.
        texts: (prompt, reply) of each response in the table's order, from `read_texts`, or none.
    """
    described = copy.deepcopy(described)
    ends: list[EndEntry | PickEntry]
    ends = [end for axis in described["axes"] for end in (*axis["high"], *axis["low"])]
    ends += (described.get("picks") or {"picks": []})["picks"]
    rows = {end["response"] for end in ends}
    known = {row: pair for row, pair in enumerate(texts) if row in rows}
    for end in ends:
        if end["response"] in known:
            prompt, reply = known[end["response"]]
            end["prompt"], end["text"] = _shorten(prompt), _shorten(reply)
    return described


def _shorten(text: Prompt) -> str:
    if not isinstance(text, str):
        text = "\n".join(str(message.get("content", "")) for message in text)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "\u2026"
