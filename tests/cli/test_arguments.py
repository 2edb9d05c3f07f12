"""Options made from dataclasses: every kind of field, defaults kept, errors in one line."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import pytest

from lore_jax.cli.arguments import FLAT, POSITIONAL, OneOf, parse


@dataclasses.dataclass(frozen=True)
class Names:
    """How users are called.

    Attributes:
        hash_ids: hash them.
    """

    hash_ids: bool = False


@dataclasses.dataclass(frozen=True)
class Ridge:
    """One direction.

    Attributes:
        strength: its ridge.
    """

    strength: float = 1.0


@dataclasses.dataclass(frozen=True)
class Steps:
    """Several directions, step by step.

    Attributes:
        steps: how many, 100 % of them.
        rank: how many directions; they may
            be many.
    """

    steps: int = 10
    rank: int | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}: 1 or more is expected")


class Likelihood:
    """Not a type that a word can give."""


LIKELIHOOD = Likelihood()


@dataclasses.dataclass(frozen=True)
class Fit:
    """What to fit.

    Attributes:
        method: how.
    """

    method: Steps | Ridge = Steps(rank=5)
    folds: int = 4
    likelihood: Likelihood = LIKELIHOOD


@dataclasses.dataclass(frozen=True)
class Base:
    """What is common.

    Attributes:
        out: where to write.
    """

    out: Path


@dataclasses.dataclass(frozen=True)
class Config(Base):
    """Does everything.

    More about it.

    Attributes:
        sources: what to read.
        fit: what to fit.
        names: user names.
        split: what is kept.
    """

    sources: Annotated[tuple[Path, ...], POSITIONAL]
    fit: Annotated[Fit, FLAT, OneOf("method", {"steps": Steps, "ridge": Ridge})] = Fit()
    names: Annotated[Names, FLAT] = Names()
    split: Steps = Steps(steps=7)
    store: Literal["float16", "float32"] | None = None
    shots: tuple[int, ...] = (0, 5)
    baselines: bool = True


def read(*words):
    return parse(Config, ["a", "b", "--out", "o", *words], prog="program")


def test_what_is_not_given_keeps_its_default():
    assert read() == Config(Path("o"), (Path("a"), Path("b")))


# words: the fields that they change
GIVEN = {
    "--store float16": {"store": "float16"},
    "--store None": {"store": None},
    "--shots 1 -2 3": {"shots": (1, -2, 3)},
    "--shots": {"shots": ()},
    "--no-baselines": {"baselines": False},
    "--folds 5": {"fit": Fit(folds=5)},
    "--hash-ids": {"names": Names(hash_ids=True)},
    "--split.rank 3": {"split": Steps(steps=7, rank=3)},
    "--steps=3": {"fit": Fit(Steps(steps=3, rank=5))},
    "--method steps --rank None": {"fit": Fit(Steps())},
    "--method ridge --strength 2": {"fit": Fit(Ridge(2.0))},
    "--strength 1e-3 --method=ridge": {"fit": Fit(Ridge(1e-3))},
}


@pytest.mark.parametrize("words", GIVEN)
def test_every_kind_of_field(words):
    assert read(*words.split()) == dataclasses.replace(read(), **GIVEN[words])


# words: what the error says
REFUSED = {
    "--strength 2": r"there is no option --strength\.",
    "--method rige": "--method is 'rige': 'steps' or 'ridge' is expected",
    "--method": "--method is '': 'steps' or 'ridge' is expected",
    "--method ridge --steps 3": r"there is no option --steps\.",
    "--split.step 3": "there is no option --split.step: is --split.steps meant",
    "--steps 0": "steps is 0: 1 or more",
    "--steps three": "argument --steps: invalid int value: 'three'",
    "--store float64": "argument --store: invalid choice: 'float64'",
    "--baselines": "there is no option --baselines: is --no-baselines meant",
    "--steps": "argument --steps: expected one argument",
    "-x": "unrecognized arguments: -x",
}


@pytest.mark.parametrize("words", REFUSED)
def test_errors_name_the_option(words):
    with pytest.raises(ValueError, match=REFUSED[words]) as caught:
        read(*words.split())
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="arguments are required: --out, SOURCES"):
        parse(Config, [], prog="program")


def test_help_is_the_docstrings(capsys):
    with pytest.raises(SystemExit) as stop:
        read("--help", "--method", "steps")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(
        "usage: program --out PATH SOURCES ... [OPTIONS] Does everything. More about it."
    )
    for part in [
        "--out PATH where to write.",
        "--method {steps,ridge} how. (default: steps)",
        "--method steps: Several directions, step by step: --steps INT how many, 100 % of them. "
        "(default: 10) --rank INT how many directions; they may be many. (default: 5)",
        "what is kept: --split.steps INT how many, 100 % of them. (default: 7)",
        "--shots [INT ...]",
        "(default: 0 5)",
    ]:
        assert part in text, text
