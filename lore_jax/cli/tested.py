"""What `evaluate` tests: what a run's split kept for it, or the pairs of another cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lore_jax.cli.models import LoadedModel, refuse_other_encoder
from lore_jax.data.preferences import Preferences
from lore_jax.evaluation.answer_rows import AnswerCondition
from lore_jax.evaluation.evaluate import Condition, ConditionByAnswers
from lore_jax.evaluation.results import describe_split
from lore_jax.evaluation.schema import SplitEntry
from lore_jax.evaluation.shots import count_per_user
from lore_jax.methods.as_said import AnswersPredictor
from lore_jax.methods.base import BasisPredictor, Predictor
from lore_jax.runs.folder import Parts, RunFolder
from lore_jax.runs.test_sets import (
    answer_conditions,
    by_strict_pairs,
    conditions_of_other_pairs,
    run_conditions,
)
from lore_jax.storage.cache.reader import load_cache


class Tested(NamedTuple):
    """What is tested: conditions, the run as a method for their users, the split's entry.

    Beside them the pairs of the run, and where answers were fitted as they were said, the same
    conditions of answers.
    """

    conditions: Sequence[Condition | ConditionByAnswers]
    predictor: Predictor | AnswersPredictor
    entry: SplitEntry
    parts: Parts
    answers: Sequence[AnswerCondition] = ()


def what_to_test(
    run: RunFolder, loaded: LoadedModel, *, cache: Path | None, test: Path | None
) -> Tested:
    """The pairs, or answers, that the run's split kept, or those of `--test`."""
    assert loaded.users is not None
    said = run.load_answer_parts(cache) if run.as_said else None
    parts = run.load_parts(cache) if said is None else said.as_pairs()
    # `report` joins the results of runs that differ in their seed alone: it numbers the split.
    manifest, number = run.manifest, run.manifest["config"]["seed"]
    if test is None:
        answers = [] if said is None else answer_conditions(said)
        conditions = by_strict_pairs(answers) if answers else run_conditions(parts)
        split = manifest["split"]
        assert split is not None
        assert manifest["group_by"] is not None
        entry = describe_split(
            {"seen": _names(parts.train), "unseen": _names(parts.shots)},
            items=list(dict.fromkeys(items for _, items in parts.tests)),
            group_by=manifest["group_by"],
            digest=split["digest"],
            data=Path(manifest["data"]["cache"]).name,
            split=number,
            dropped=split["dropped"],
            given={cell.users: count_per_user(cell.shots) for cell in conditions},
        )
        if answers:
            return Tested(conditions, as_said(loaded), entry, parts, answers)
        own = BasisPredictor(loaded.model, loaded.users)
        return Tested(conditions, own, entry, parts)
    refuse_other_encoder(loaded, test)
    other = conditions_of_other_pairs(parts.train, loaded.users, load_cache(test), test)
    entry = describe_split(
        {"seen": other.names},
        items=[condition.items for condition in other.conditions],
        group_by="response",
        digest="",
        data=test.name,
        split=number,
        dropped={"pairs_of_unknown_users": other.pairs_of_unknown_users},
    )
    return Tested(other.conditions, BasisPredictor(loaded.model, other.users), entry, parts)


def as_said(loaded: LoadedModel) -> AnswersPredictor:
    """The run as a method for users known by answers."""
    assert loaded.said is not None
    answers, users = loaded.said
    assert users is not None
    return AnswersPredictor(loaded.model, answers, users)


def _names(prefs: Preferences | None) -> np.ndarray:
    """The users' names, or their numbers."""
    if prefs is None:
        return np.zeros(0, int)
    return np.arange(prefs.num_users) if prefs.user_ids is None else prefs.user_ids
