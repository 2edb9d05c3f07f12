"""What a run fits: the pairs of a cache, or its answers as they were said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

import jax
from jaxtyping import PyTree

from lore_jax.data.answer_split import AnswerSplit, split_answers
from lore_jax.data.feedback import Feedback
from lore_jax.data.four_way import FourWay, four_way
from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import FitConfig, method_name
from lore_jax.fitting.feedback import AnswerFit, answer_method, start_feedback
from lore_jax.fitting.fit import JointFit, start
from lore_jax.parallel.devices import Devices
from lore_jax.runs.config import RunConfig
from lore_jax.storage.cache.answers import answer_kinds, load_feedback
from lore_jax.storage.cache.reader import load_cache

Material: TypeAlias = Preferences | Feedback


def load_material(cache: Path, config: RunConfig) -> tuple[Material, list[str]]:
    """The pairs of a cache, or its answers, and a line where other kinds than pairs are among them.

    Args:
        cache: the cache's folder.
        config: what a run does.

    Returns:
        What is fitted and tested, and the lines to announce.

    Raises:
        FileNotFoundError: there is no cache.
        ValueError: it is corrupt, or answers shall be fitted as said by a method that cannot.

    Example:
        >>> prefs, _ = load_material(Path("cache"), RunConfig())  # doctest: +SKIP
    """
    wanted = config.answers.fit
    if wanted == "as said":
        answer_method(config.fit)
    others = [kind for kind in answer_kinds(cache) if kind.name != "pair"]
    if wanted != "as said" and not others:
        return load_cache(cache), []
    refusal = _refusal(config.fit)
    if wanted == "pairs" or refusal:
        said, reason = ", ".join(map(str, others)), refusal or "as asked for"
        line = f"the cache holds {said}: the strict pairs they make are fitted, {reason}"
        return load_cache(cache), [line]
    feedback = load_feedback(cache)
    turned = "--answers.fit pairs fits the strict pairs they make"
    return feedback, [f"answers are fitted as they were said, {feedback!r}; {turned}"]


def _refusal(config: FitConfig) -> str:
    """Why a fit cannot take answers as they were said, or nothing."""
    try:
        answer_method(config)
    except ValueError:
        return f"which is what {method_name(config.method)} takes"
    return ""


def split_material(material: Material, config: RunConfig) -> FourWay | AnswerSplit | None:
    """What is fitted and what is kept for the test; None: everything is fitted.

    Raises:
        ValueError: as `four_way`.
    """
    options = dataclasses.asdict(config.split)
    if options.pop("everything"):
        return None
    options |= {"group_by": config.fit.group_by, "seed": config.seed}
    if isinstance(material, Feedback):
        return split_answers(material, **options)
    return four_way(material, **options)


def begin_fit(
    train: Material,
    config: RunConfig,
    fit_config: FitConfig,
    *,
    devices: Devices,
    progress: bool,
) -> tuple[JointFit | AnswerFit, PyTree]:
    """The fit and its first state.

    Args:
        train: what is fitted.
        config: what a run does.
        fit_config: what is fitted, with what was chosen already, if anything was.
        devices: where to.
        progress: whether choosing shows how far it has come.

    Raises:
        ValueError: as `start`, or `start_feedback`.
    """
    key = jax.random.key(config.seed)
    options: dict[str, Any] = {"key": key, "devices": devices, "progress": progress}
    options["mapping"] = config.mapping
    if isinstance(train, Feedback):
        options |= {"ties": config.answers.ties, "lapse": config.answers.lapse}
        return start_feedback(train, fit_config, **options)
    return start(train, fit_config, **options)
