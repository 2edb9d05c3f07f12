"""One split for the whole table: seen and unseen users against seen and unseen units."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import Unit, Use, hold_out_units, hold_out_within_users, split_users


class Dropped(NamedTuple):
    """What a `FourWay` leaves out.

    Attributes:
        users: users with fewer pairs than the minimum in some part.
        pairs_of_users: all pairs of those users.
        straddling: pairs of the users kept that have a foot on both sides of a cut.
        not_in_fit: test pairs of the users kept, on known units, whose units happen to be in no
            training pair.
    """

    users: int
    pairs_of_users: int
    straddling: int
    not_in_fit: int


@dataclasses.dataclass(frozen=True, eq=False)
class FourWay:
    """One split for the table of seen and unseen users against seen and unseen units.

    Attributes:
        train: pairs to fit on: seen users, training units.
        shots: pairs to adapt on, from which `draw_shots` draws: unseen users, training units.
        tests: `(users, units)`, each "seen" or "unseen", to the test pairs of that cell. Users are
            numbered as in `train` (seen) or in `shots` (unseen).
        seen_users: which users of the original are the seen ones, ascending.
        unseen_users: which are the unseen ones, ascending.
        dropped: what was left out.
        digest: sha256 over who and what is in which part: equal for equal splits of equal pairs.
    """

    train: Preferences
    shots: Preferences
    tests: dict[tuple[Use, Use], Preferences]
    seen_users: np.ndarray
    unseen_users: np.ndarray
    dropped: Dropped
    digest: str


def four_way(
    prefs: Preferences,
    *,
    unseen_users: float = 0.3,
    test: float = 0.3,
    unit: Unit = "prompt",
    units: tuple[Use, ...] = ("seen", "unseen"),
    min_train: int = 1,
    min_test: int = 1,
    seed: int,
) -> FourWay:
    """Splits users into seen and unseen ones, and units into training units, known test units and
    new test units.

    New units are cut off first, for everybody (`hold_out_units`); what remains is cut within each
    user (`hold_out_within_users`). A test pair counts as one of seen units only if its units are in
    a training pair of a seen user. Users who fall below a minimum are dropped everywhere.

    Args:
        prefs: all pairs of all users.
        unseen_users: the share of the users to keep out of the fit.
        test: the share of the units to hold out in each of the two cuts.
        unit: "prompt", or "response" where prompts are few and judged by everybody.
        units: the columns wanted. With ("unseen",) no units are cut within users, with ("seen",)
            none for everybody.
        min_train: users with fewer training pairs (or pairs to draw shots from) are dropped.
        min_test: users with fewer test pairs in any column are dropped.
        seed: seed of all draws.

    Returns:
        The `FourWay`.

    Raises:
        ValueError: fewer than 2 users have enough pairs, or the units cannot be cut.

    Example:
        >>> split = four_way(prefs, unit="prompt", seed=0)
        >>> split.tests["unseen", "seen"].num_users == split.shots.num_users
        True
    """
    if not units or len(set(units)) < len(units) or not set(units) <= {"seen", "unseen"}:
        raise ValueError(f"units is {units!r}: ('seen', 'unseen') or one of them is expected")
    seed_of_users, seed_new, seed_known = np.random.SeedSequence(seed).generate_state(3).tolist()
    fit = np.ones(prefs.num_pairs, bool)
    tests: dict[Use, np.ndarray] = {}
    if "unseen" in units:
        fit, tests["unseen"], _ = hold_out_units(prefs, test, unit=unit, seed=seed_new)
    if "seen" in units:
        rows = np.flatnonzero(fit)
        cut = hold_out_within_users(prefs.take_pairs(fit), test, unit=unit, seed=seed_known)
        fit, tests["seen"] = (_mask(rows[part], prefs.num_pairs) for part in (cut.train, cut.test))

    def enough(tests: dict[Use, np.ndarray]) -> np.ndarray:
        def count(part: np.ndarray) -> np.ndarray:
            return np.bincount(prefs.user[part], minlength=prefs.num_users)

        return np.logical_and.reduce(
            [count(fit) >= min_train, *(count(part) >= min_test for part in tests.values())]
        )

    kept = np.flatnonzero(enough(tests))
    wanted = (
        f"{min_train} training pairs and {min_test} test pairs of {' and of '.join(units)} units"
    )
    if len(kept) < 2:
        raise ValueError(
            f"{len(kept)} of {prefs.num_users} users have {wanted}: at least 2 are expected"
        )
    seen, unseen = (kept[part] for part in split_users(len(kept), unseen_users, seed=seed_of_users))
    # A unit counts as seen if a seen user's training has it; dropping a user may take that from
    # others' test pairs.
    known = dict(tests)
    while True:
        if "seen" in tests:
            known["seen"] = tests["seen"] & _in_fit(prefs, unit, fit & np.isin(prefs.user, seen))
        stay = enough(known)
        if stay[seen].all() and stay[unseen].all():
            break
        seen, unseen = seen[stay[seen]], unseen[stay[unseen]]
        if not len(seen) or not len(unseen):
            raise ValueError(
                f"no {'unseen' if len(seen) else 'seen'} user has {wanted}, that others' training has too"
            )
    users: dict[Use, np.ndarray] = {"seen": seen, "unseen": unseen}
    member: dict[Use, np.ndarray] = {name: np.isin(prefs.user, who) for name, who in users.items()}
    in_fit = {name: fit & member[name] for name in member}
    in_cells: dict[tuple[Use, Use], np.ndarray] = {}
    for name in member:
        in_cells |= {(name, column): known[column] & member[name] for column in units}
    in_kept = member["seen"] | member["unseen"]
    not_in_fit = int((tests["seen"] & ~known["seen"] & in_kept).sum()) if "seen" in tests else 0
    return FourWay(
        train=prefs.take_pairs(in_fit["seen"]).take_users(seen),
        shots=prefs.take_pairs(in_fit["unseen"]).take_users(unseen),
        tests={
            cell: prefs.take_pairs(part).take_users(users[cell[0]])
            for cell, part in in_cells.items()
        },
        seen_users=seen,
        unseen_users=unseen,
        dropped=Dropped(
            users=prefs.num_users - len(seen) - len(unseen),
            pairs_of_users=int((~in_kept).sum()),
            straddling=int(in_kept.sum())
            - sum(int(part.sum()) for part in [*in_fit.values(), *in_cells.values()])
            - not_in_fit,
            not_in_fit=not_in_fit,
        ),
        digest=split_digest(
            [*users.values()],
            [prefs.take_pairs(part) for part in [*in_fit.values(), *in_cells.values()]],
        ),
    )


def _in_fit(prefs: Preferences, unit: Unit, fit: np.ndarray) -> np.ndarray:
    """Whether all units of a pair are in a pair of `fit`, bool `[pairs]`."""
    if unit == "prompt":
        return np.isin(prefs.prompt, prefs.prompt[fit])
    seen = np.concatenate([prefs.chosen[fit], prefs.rejected[fit]])
    return np.isin(prefs.chosen, seen) & np.isin(prefs.rejected, seen)


def split_digest(users: Sequence[np.ndarray], parts: Sequence[Preferences]) -> str:
    """Hashes who and what is where, each list behind its length; the order of the caller's pairs
    does not matter.

    Args:
        users: ids of the users on each side.
        parts: the pairs of each part, users, prompts and responses numbered in the same way
            everywhere.

    Returns:
        A sha256 in hexadecimal digits.

    Example:
        >>> split_digest([seen, unseen], [train, test])[:12]
        'f3b1c7d20a94'
    """
    lists = [np.array([len(users), len(parts)]), *users]
    for part in parts:
        pairs = np.stack([part.user, part.prompt, part.chosen, part.rejected], axis=1)
        lists.append(pairs[np.lexsort(pairs.T)])
    digest = hashlib.sha256()
    for entries in lists:
        digest.update(
            np.array(len(entries)).astype("<i8").tobytes() + entries.astype("<i8").tobytes()
        )
    return digest.hexdigest()


def _mask(index: np.ndarray, length: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[index] = True
    return mask
