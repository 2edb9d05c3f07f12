"""RunConfig: what a run does, and what it keeps for the test; as JSON, and back."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping as Dictionary
from typing import Annotated, Any, Literal

import jax

from lore_jax.data.splits import Holdout
from lore_jax.fitting.config import METHODS, FitConfig, method_name
from lore_jax.model.answer_model import Ties
from lore_jax.parallel.devices import Mapping
from lore_jax.storage.json_fields import check_fields


@dataclasses.dataclass(frozen=True)
class SplitConfig:
    """What a run keeps from the fit for the test.

    Attributes:
        everything: fit all pairs of all users; nothing is kept, and `evaluate` has nothing to say.
        unseen_users: share of the users kept out of the fit, to adapt to and to test on.
        test: share of the groups kept out in each test: of all groups (new items), or of each
            user's own (known items).
        items: which tests: items new to everybody, as replies of a language model always are, or
            items that other users judged in the fit. Each of the two needs a fit of its own; both
            at once cost pairs and users twice.
        fold: two numbers, k and count, instead of the shares: the k-th (from 0) of count runs of
            one seed, which test every group once and have every user unseen once.
        min_train: users with fewer training pairs are dropped.
        min_test: users with fewer test pairs of any kind are dropped.
    """

    everything: bool = False
    unseen_users: float = 0.3
    test: float = 0.3
    items: tuple[Holdout, ...] = ("new items",)
    fold: tuple[int, int] | None = None
    min_train: int = 1
    min_test: int = 1


@dataclasses.dataclass(frozen=True)
class AnswersConfig:
    """How answers are fitted that are no strict pairs: ties, strengths, rankings, votes, ratings.

    Attributes:
        fit: as they were said, or the strict pairs that they make; None: as they were said where
            the cache holds such answers and the method is the population model.
        ties: the model of ties: davidson (probabilities of both sides, multiplied) or rao-kupper
            (a margin too small to tell).
        lapse: share of the answers that are taken to be given at random.
    """

    fit: Literal["as said", "pairs"] | None = None
    ties: Ties = "davidson"
    lapse: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.lapse < 1.0:
            raise ValueError(f"lapse is {self.lapse}: a share from 0 and below 1 is expected")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run does: split, fit, answers, seed and chunk decide its result.

    Attributes:
        split: what is kept for the test.
        fit: what is fitted.
        answers: how answers are fitted that are no strict pairs.
        seed: seed of the split, of validation and of the initialisation.
        chunk: steps between two looks at the clock and at signals.
        checkpoint_seconds: the least time between two checkpoints.
        devices: how many devices; None: all there are, those of other processes included.
        mapping: how the fit is mapped over them.
    """

    split: SplitConfig = dataclasses.field(default_factory=SplitConfig)
    fit: Annotated[FitConfig, "flat"] = dataclasses.field(default_factory=FitConfig)
    answers: AnswersConfig = dataclasses.field(default_factory=AnswersConfig)
    seed: int = 0
    chunk: int = 20
    checkpoint_seconds: float = 60.0
    devices: int | None = None
    mapping: Mapping = "jit"

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("chunk", 1), ("checkpoint_seconds", 0), ("devices", 1)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ValueError(f"{name} is {value}: {least} or more is expected")


DECISIVE = ("split", "fit", "answers", "seed", "chunk")


def decisive(config: RunConfig) -> dict[str, Any]:
    """What decides the result of a run, as JSON; `run.json` keeps it.

    Args:
        config: what a run does.

    Returns:
        Dictionaries, lists, numbers and texts.

    Example:
        >>> decisive(RunConfig(seed=3))["seed"]
        3
    """
    plain = {name: _plain(getattr(config, name)) for name in DECISIVE}
    plain["fit"]["method"]["name"] = method_name(config.fit.method)
    return json.loads(json.dumps(plain))


def from_decisive(plain: Dictionary[str, Any], where: str) -> RunConfig:
    """The configuration that `decisive` wrote down, so that a run can be repeated.

    Args:
        plain: what `decisive` gave.
        where: where it comes from, for errors.

    Returns:
        The configuration; what does not decide the result has its default.

    Raises:
        ValueError: a field is missing or unknown, a value is none of its type, or the method is
            none that this package has.

    Example:
        >>> from_decisive(decisive(RunConfig(seed=3)), "run.json") == RunConfig(seed=3)
        True
    """
    return _instance(RunConfig, {"fit": {}, "split": {}, **plain}, where)


def _plain(value: object) -> Any:
    """Configurations as dictionaries; a pytree among them (a likelihood) is told by its name."""
    if not dataclasses.is_dataclass(value):
        return value
    if not jax.tree_util.all_leaves([value]):
        return type(value).__name__
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def _instance(cls: type, plain: object, where: str) -> Any:
    """A dataclass from what `_plain` made of it."""
    if not isinstance(plain, Dictionary):
        raise ValueError(f"{where} has {plain!r}: the fields of {cls.__name__} are expected")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints, values = typing.get_type_hints(cls), dict(plain)
    if unknown := sorted(values.keys() - fields.keys()):
        raise ValueError(f"{where} has {unknown[0]!r}, which {cls.__name__} does not know")
    defaults = cls()
    for name, value in values.items():
        default, hint = getattr(defaults, name), hints[name]
        if name == "method":
            values[name] = _method(value, where)
        elif isinstance(default, FitConfig | SplitConfig | AnswersConfig):
            values[name] = _instance(type(default), value, f"{where}: {name}")
        elif dataclasses.is_dataclass(default):  # told by its name
            if value != type(default).__name__:
                raise ValueError(f"{where} has {name} {value!r}, which a file cannot bring back")
            values[name] = default
        else:
            check_fields(value, hint, f"{where}: {name}")
            values[name] = tuple(value) if isinstance(value, list) else value
    return cls(**values)


def _method(plain: object, where: str) -> Any:
    if not isinstance(plain, Dictionary) or plain.get("name") not in METHODS:
        name = plain.get("name") if isinstance(plain, Dictionary) else plain
        raise ValueError(
            f"{where} has the method {name!r}: one of {', '.join(METHODS)} is expected"
        )
    settings = {key: value for key, value in plain.items() if key != "name"}
    return _instance(METHODS[plain["name"]], settings, f"{where}: method")
