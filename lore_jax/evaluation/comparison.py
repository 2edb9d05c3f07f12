"""Methods side by side on one split: the same pairs, validation folds and draws of shots for all.

A method is given the training pairs over a table of the responses in them, so that neither a test
pair nor the embedding of a response that only tests have reaches it. All have the same key, which
draws the same folds: a method whose fits take no steps has them drawn more often where responses
are few, as everywhere (`FitConfig.repeats`). A method that cannot run, for lack of what it needs or
of memory, says why in its entry, and one whose numbers are not finite any more has diverged:
neither has rows, and the others go on.

Seconds are set beside a budget, and nothing is stopped by it. A rule by the clock would let the
machine and what else runs on it choose the settings, and a run that is repeated would differ.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from lore_jax.data.four_way import FourWay
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import GroupBy, Holdout, Users, draw_shots
from lore_jax.evaluation.cost import adapt_milliseconds, num_parameters
from lore_jax.evaluation.evaluate import Condition, conditions, evaluate
from lore_jax.evaluation.names import nearest_shots
from lore_jax.evaluation.schema import FitEntry, Row
from lore_jax.evaluation.stopwatch import Stopwatch
from lore_jax.fitting.fit import fit_predictor
from lore_jax.fitting.roster import POPULATION_MODEL, Entry
from lore_jax.fitting.validation import DivergedError
from lore_jax.methods.base import Choice, Predictor
from lore_jax.parallel.compiled_programs import drop_programs_if_many
from lore_jax.users.predict import Margins

_LEAST_USERS = 2  # of a fit to fewer users


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """How methods are compared; decides the numbers.

    Attributes:
        shots: numbers of shots of unseen users.
        user_shares: shares of the seen users to whom every method is fitted as well.
        budget: seconds, compilation apart, that choosing and fitting should take at most on a
            split; reported beside what they took.
        smoke: fits of a few steps, with nothing chosen, to see that everything runs.
    """

    shots: tuple[int, ...] = (0, 5, 10, 20, 40)
    user_shares: tuple[float, ...] = (0.25, 0.5)
    budget: float = 30.0
    smoke: bool = False

    def __post_init__(self) -> None:
        if not self.shots or any(count < 0 for count in self.shots):
            raise ValueError(f"shots is {self.shots}: numbers of 0 or more are expected")
        if any(not 0 < share < 1 for share in self.user_shares):
            got = f"user_shares is {self.user_shares}"
            raise ValueError(f"{got}: numbers between 0 and 1 are expected")
        if not self.budget > 0:
            raise ValueError(f"budget is {self.budget}: a number of seconds above 0 is expected")

    @property
    def reported_shots(self) -> int:
        """The number of shots of tables and timings: 20, or the nearest."""
        return nearest_shots(self.shots)


class ComparedSplit(NamedTuple):
    """The split on which methods are compared.

    Attributes:
        train: the training pairs, of the seen users.
        conditions: what to test on; one of them of unseen users.
        holdout: what the tests hold out.
        group_by: what an item is.
        names: of the seen and of the unseen users, in their order.
        digest: of who and what is where.
        dropped: what the split leaves out.
        folds_by: what validation folds do not cut; None: found.
    """

    train: Preferences
    conditions: Sequence[Condition]
    holdout: Holdout
    group_by: GroupBy
    names: Mapping[Users, Shaped[np.ndarray, " _users"]]
    digest: str
    dropped: Mapping[str, int]
    folds_by: GroupBy | None = None


def compared_split(
    split: FourWay, holdout: Holdout, user_ids: Shaped[np.ndarray, " users"] | None
) -> ComparedSplit:
    """A 2 x 2 hold-out with one kind of test, as methods are compared on it.

    Args:
        split: from `four_way`.
        holdout: the kind of its tests.
        user_ids: names of the users before the split; None: they are numbered.

    Returns:
        The `ComparedSplit`; validation folds find their groups themselves, as those of a fit do.

    Example:
        >>> compared_split(split, "new items", prefs.user_ids).group_by
        'prompt'
    """
    users: dict[Users, Shaped[np.ndarray, " _users"]] = {
        "seen": split.seen_users,
        "unseen": split.unseen_users,
    }
    if user_ids is not None:
        users = {side: user_ids[index] for side, index in users.items()}
    dropped = split.dropped._asdict()
    return ComparedSplit(
        split.train, conditions(split), holdout, split.group_by, users, split.digest, dropped
    )


class Comparison(NamedTuple):
    """What methods do on a split.

    Attributes:
        rows: of the methods that ran; with controls for the population model.
        fits: what each fit cost, or why it has no rows.
        fewer_users: rows of unseen users after the reported shots, by the share of the seen users
            who were fitted.
        chosen: names of methods to what was chosen on validation.
    """

    rows: list[Row]
    fits: list[FitEntry]
    fewer_users: dict[str, list[Row]]
    chosen: dict[str, Choice]


def compare(
    methods: Mapping[str, Entry],
    split: ComparedSplit,
    config: ComparisonConfig = ComparisonConfig(),
    *,
    data: str = "",
    number: int = 0,
    seed: int,
    announce: Callable[[FitEntry], None] | None = None,
) -> Comparison:
    """Fits and evaluates every method on one split.

    Args:
        methods: by name.
        split: what to fit and to test on.
        config: how.
        data: name of the data set, for the rows.
        number: of the split, for the rows.
        seed: of the folds, of initialisations, and of the draws of shots and of users.
        announce: is given the entry of each fit when it is done.

    Returns:
        The `Comparison`.

    Example:
        >>> from lore_jax.fitting.roster import entries
        >>> compared = compared_split(split, "new items", prefs.user_ids)
        >>> config = ComparisonConfig((0, 5), user_shares=(), smoke=True)
        >>> compare(entries(["bradley-terry"]), compared, config, seed=0).fits[0]["parameters"]
        9
    """
    about: dict[str, Any] = {"data": data, "number": number, "seed": seed}
    result = Comparison([], [], {str(share): [] for share in config.user_shares}, {})
    order = np.random.default_rng(seed).permutation(split.train.num_users)
    for share in dict.fromkeys((1.0, *config.user_shares)):
        users = max(round(share * len(order)), min(_LEAST_USERS, len(order)))
        seen = np.sort(order[:users])
        train = _on_device(split.train.take_users(seen).take_responses())
        for name, entry in methods.items():
            drop_programs_if_many()  # another method's are of no use
            fit, rows, choice = _attempt(name, entry, train, split, config, share=share, **about)
            result.fits.append(fit)
            if announce is not None:
                announce(fit)
            if choice is None:
                continue
            if share == 1.0:
                result.rows.extend(rows)
                result.chosen[name] = choice
            else:
                result.fewer_users[str(share)].extend(rows)
    return result


def _attempt(
    name: str,
    entry: Entry,
    train: Preferences,
    compared: ComparedSplit,
    config: ComparisonConfig,
    *,
    share: float,
    data: str,
    number: int,
    seed: int,
) -> tuple[FitEntry, list[Row], Choice | None]:
    """One method fitted to some of the users: its cost, its rows and choice if it ran."""
    fit: FitEntry = {
        "data": data,
        "split": number,
        "items": compared.holdout,
        "method": name,
        "user_share": share,
        "users": train.num_users,
        "note": None,
        "parameters": None,
        "seconds": None,
        "compile_seconds": None,
        "adapt_one_ms": None,
        "adapt_thousand_ms": None,
    }
    try:
        fit_config = entry.config(
            train, holdout=compared.holdout, group_by=compared.folds_by, smoke=config.smoke
        )
        with Stopwatch() as watch:
            fitted, history = fit_predictor(train, fit_config, key=jax.random.key(seed))
            jax.block_until_ready(vars(fitted))
        fit["seconds"], fit["compile_seconds"] = watch.seconds, watch.compile_seconds
        if (bad := np.flatnonzero(~np.isfinite(history.loss))).size:
            raise DivergedError(f"the training loss is {history.loss[bad[0]]} at step {bad[0]}")
        predictor = _Finite(fitted)
        options = {"data": data, "split": number, "seed": seed}
        rows = _rows(name, predictor, compared, config, whole=share == 1.0, **options)
        if share == 1.0:
            fit["parameters"] = num_parameters(fitted)
            unseen = _unseen(compared)
            given = draw_shots(unseen.shots, config.reported_shots, seed=seed)
            fit["adapt_one_ms"], fit["adapt_thousand_ms"] = (
                adapt_milliseconds(predictor, given, unseen.test, users) for users in (1, 1000)
            )
    except DivergedError as error:
        return {**fit, "note": f"diverged: {error}"}, [], None
    except (ValueError, MemoryError, jax.errors.JaxRuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return {**fit, "note": f"cannot run: {reason}"}, [], None
    return fit, rows, history.choice


def _rows(
    name: str,
    predictor: Predictor,
    compared: ComparedSplit,
    config: ComparisonConfig,
    *,
    whole: bool,
    **options: Any,
) -> list[Row]:
    """Rows of all conditions, or where not all seen users are fitted of the unseen users alone."""
    return evaluate(
        {name: predictor},
        compared.conditions if whole else [_unseen(compared)],
        shots=tuple(dict.fromkeys(config.shots)) if whole else (config.reported_shots,),
        group_by=compared.group_by,
        with_controls=whole and name == POPULATION_MODEL,
        **options,
    )


def _unseen(compared: ComparedSplit) -> Condition:
    return next(condition for condition in compared.conditions if condition.users == "unseen")


def _on_device(prefs: Preferences) -> Preferences:
    """A CPU would convert a half-precision table before every product."""
    if jax.default_backend() != "cpu":
        return prefs
    return dataclasses.replace(prefs, embeddings=np.asarray(prefs.embeddings, np.float32))


@dataclasses.dataclass(frozen=True, eq=False)
class _Finite:
    """A predictor whose margins are checked: metrics would count a NaN as an answer."""

    predictor: Predictor

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins after the shots."""
        return _finite(self.predictor.adapted(shots, test))

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins of the users of the fit."""
        return _finite(self.predictor.fitted(shots, test))

    def save(
        self, path: str | os.PathLike[str], *, encoder: Mapping[str, object] | None = None
    ) -> None:
        """Saves the predictor."""
        self.predictor.save(path, encoder=encoder)


def _finite(margins: Margins) -> Margins:
    for values in (np.asarray(margins.mean), np.asarray(margins.variance)):
        if (bad := np.flatnonzero(~np.isfinite(values))).size:
            raise DivergedError(f"margins of {bad.size} of {values.size} test pairs are not finite")
    return margins
