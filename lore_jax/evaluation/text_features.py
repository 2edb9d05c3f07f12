"""What the axes go with: correlations of rewards with simple features of the responses' texts.

A loading t_j (`disagreement`) and a feature x_j are compared within prompts: both have their
average over the responses to the same prompt taken out. Loadings have heavy tails, so they are
replaced by normal scores, `ndtri((rank - 1/2) / n)`; given the features, the correlation of
independent normal scores follows Fisher's transformation,

    artanh(r) ~ N(artanh(rho), 1 / (n - P - 2)),

with n responses to P prompts, each of which takes a degree of freedom. Several axes and features
are looked at, so intervals hold for all of them together with 95 % (Bonferroni); what is kept are
those that leave out 0. A correlation is no cause: longer replies may be the more careful ones.

References:
    Fisher 1924, "The distribution of the partial correlation coefficient".
    van der Waerden 1952, "Order tests for the two-sample problem and their power".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import rankdata

from lore_jax.evaluation.disagreement import Prompt, Table, axes
from lore_jax.evaluation.schema import FeatureEntry, FeaturesEntry
from lore_jax.model.model import Model, rewards

_FEWEST = 10  # degrees of freedom, and responses that a feature tells from the others
_ITEM = re.compile(r"^\s*(?:[-*+\u2022]|\d+[.)])\s+\S", re.MULTILINE)
_EMOJI = re.compile("[\u2600-\u27bf\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff]")
_REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) sorry|I (?:cannot|can ?not|can't|won't)|I(?:'m| am) (?:unable|not able))\b",
    re.IGNORECASE,
)


def _count(pattern: re.Pattern[str]) -> Callable[[str], float]:
    return lambda text: float(np.log1p(len(pattern.findall(text))))


# Counts are on a log scale: the tenth list item says less than the first.
FEATURES: dict[str, Callable[[str], float]] = {
    "length": lambda text: float(np.log1p(len(text))),
    "list items": _count(_ITEM),
    "emoji": _count(_EMOJI),
    "refusals": lambda text: float(bool(_REFUSAL.search(text.replace("\u2019", "'")))),
    "question marks": _count(re.compile(r"\?")),
    "exclamation marks": _count(re.compile("!")),
    "code blocks": _count(re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)),
}


def feature_table(texts: Iterable[str]) -> Float[np.ndarray, "texts features"]:
    r"""The features of some texts, in the order of `FEATURES`.

    Example:
        >>> feature_table(["I'm sorry.", "- a\n- b\n!"]).round(2)
        array([[2.4 , 0.  , 0.  , 1.  , 0.  , 0.  , 0.  ],
               [2.3 , 1.1 , 0.  , 0.  , 0.  , 0.69, 0.  ]])
    """
    rows = [[feature(text) for feature in FEATURES.values()] for text in texts]
    return np.array(rows, np.float64).reshape(-1, len(FEATURES))


def describe_features(
    model: Model,
    weights: Float[np.ndarray, "users rank"] | Float[jax.Array, "users rank"],
    embeddings: Table,
    texts: Iterable[tuple[Prompt, str]],
    *,
    prompt: Int[np.ndarray, " responses"],
) -> FeaturesEntry | None:
    """What the axes of disagreement, and what all share, go with in the texts.

    Args:
        model: a fitted model.
        weights: of the users, as given to `describe_axes`.
        embeddings: the table over which rewards are compared.
        texts: (prompt, reply) of each response in the table's order, from `read_texts`, or none.
        prompt: which prompt each response answers; -1: leave it out.

    Returns:
        For each axis, and for the population, the features whose correlation is not 0 with 95 %
        for all together; None where there are no texts, or too few.

    Raises:
        ValueError: there are texts, but not one for each response.

    Example:
        >>> describe_features(model, weights, table, texts, prompt=prompt)  # doctest: +SKIP
        {'responses': 320, 'prompts': 80, 'tried': 21, 'axes': [[{'feature': 'length', ...
    """
    features = feature_table(reply for _, reply in texts)
    if not len(features):
        return None
    if len(features) != len(embeddings):
        raise ValueError(f"{len(features)} texts are given: {len(embeddings)} are expected")
    used = prompt >= 0
    group = np.unique(prompt[used], return_inverse=True)[1]
    loadings = axes(model, weights, embeddings, prompt=prompt).loadings
    population = np.asarray(rewards(model, embeddings).table) @ np.asarray(model.prior.mean)
    directions = np.column_stack([population, loadings])[used]
    entries = correlations(directions, features[used], group)
    if entries is None:
        return None
    tried, (shared, *of_axes) = entries
    prompts = int(group.max()) + 1
    return {
        "responses": int(used.sum()),
        "prompts": prompts,
        "tried": tried,
        "axes": of_axes,
        "population": shared,
    }


def correlations(
    directions: Float[np.ndarray, "responses directions"],
    features: Float[np.ndarray, "responses features"],
    group: Int[np.ndarray, " responses"],
) -> tuple[int, list[list[FeatureEntry]]] | None:
    """Correlations within groups whose simultaneous 95 % interval leaves out 0, strongest first.

    Args:
        directions: a reward of each response in each direction.
        features: of each response, in the order of `FEATURES`.
        group: the prompt of each response, 0, 1, ...

    Returns:
        How many correlations were looked at, and the entries of each direction; None where the
        responses are too few for any.
    """
    degrees = len(group) - (int(group.max(initial=-1)) + 1) - 2
    if degrees < _FEWEST:
        return None
    inside = _within(features, group)
    varies = (np.abs(inside) > 1e-9).sum(axis=0) >= _FEWEST
    names = [name for name, kept in zip(FEATURES, varies, strict=True) if kept]
    tried = len(names) * directions.shape[1]
    if not tried:
        return None
    ranks = rankdata(_within(directions, group), axis=0)
    scores = _within(ndtri((ranks - 0.5) / len(group)), group)
    inside = inside[:, varies]
    norms = np.linalg.norm(scores, axis=0)[:, None] * np.linalg.norm(inside, axis=0)
    r = np.divide(scores.T @ inside, norms, out=np.zeros(norms.shape), where=norms > 0)
    r = np.clip(r, -1.0 + 1e-12, 1.0 - 1e-12)
    reach = ndtri(1.0 - 0.025 / tried) / np.sqrt(degrees)
    low, high = np.tanh(np.arctanh(r) - reach), np.tanh(np.arctanh(r) + reach)
    found = np.stack([r, low, high], axis=1).tolist()
    return tried, [_entries(names, *numbers) for numbers in found]


def _entries(
    names: Sequence[str], r: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> list[FeatureEntry]:
    """The features of one direction whose interval leaves out 0."""
    kept: list[FeatureEntry] = [
        {"feature": name, "correlation": mean, "low": least, "high": most}
        for name, mean, least, most in zip(names, r, low, high, strict=True)
        if least > 0.0 or most < 0.0
    ]
    return sorted(kept, key=lambda entry: -abs(entry["correlation"]))


def _within(
    values: Float[np.ndarray, "responses columns"], group: Int[np.ndarray, " responses"]
) -> Float[np.ndarray, "responses columns"]:
    """Values less their average over the group."""
    count = np.bincount(group)
    total = np.zeros((len(count), values.shape[1]))
    np.add.at(total, group, values)
    return values - (total / count[:, None])[group]
