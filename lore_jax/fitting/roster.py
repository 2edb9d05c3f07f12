"""The roster: every method that comparisons fit, by name, and how each is configured there.

What its paper leaves open is left open (None) and chosen on validation folds; the rest is as
published. A method that cannot run on the data says so itself (`Method.stages`); that one needs
items that other users have judged cannot be seen in the training pairs, and stands here.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.data.splits import GroupBy, Holdout
from lore_jax.fitting.config import LATER_VARIANT, FitConfig
from lore_jax.methods.base import AnyMethod
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.methods.rivals.ensemble import EnsembleConfig
from lore_jax.methods.rivals.full_rank import FullRankConfig
from lore_jax.methods.rivals.ideal_points import IdealPointsConfig
from lore_jax.methods.rivals.in_context import InContextConfig
from lore_jax.methods.rivals.matrix_factorisation import MatrixFactorisationConfig
from lore_jax.methods.rivals.meta_learned import MetaLearnedConfig
from lore_jax.methods.rivals.nearest_users import NearestUsersConfig
from lore_jax.methods.rivals.pref import PReFConfig
from lore_jax.methods.rivals.principal_directions import PrincipalDirectionsConfig
from lore_jax.methods.rivals.user_embeddings import UserEmbeddingsConfig
from lore_jax.methods.rivals.variational import VariationalConfig
from lore_jax.methods.simplex.method import SimplexConfig
from lore_jax.model.model import rms_row_norm

POPULATION_MODEL = "gaussian"  # the library's default, with which the others are compared

# The temperature of 100 is made for a reward model's hidden states; unit rows times 30 suit it.
_ROW_NORM = 30.0
_LATER_RANK = 10  # more than it needs: columns that nobody weighs are dropped in the end


@dataclasses.dataclass(frozen=True)
class Entry:
    """A method as it is compared.

    Attributes:
        about: what it is, in a few words.
        source: the paper.
        make: the method, for the training pairs.
        quick: the same with its settings given and few steps, to see that everything runs.
        needs: what the data must have, in words; nothing: it runs on all.
        known_items_only: whether it knows items by who has judged them, not by their embeddings.
    """

    about: str
    source: str
    make: Callable[[Preferences], AnyMethod]
    quick: Callable[[Preferences], AnyMethod]
    needs: str = ""
    known_items_only: bool = False

    def config(
        self,
        prefs: Preferences,
        *,
        holdout: Holdout,
        group_by: GroupBy | None = None,
        smoke: bool = False,
    ) -> FitConfig:
        """What to fit.

        Args:
            prefs: the training pairs.
            holdout: what the test holds out: validation mirrors it.
            group_by: what validation folds do not cut; None: found.
            smoke: a few steps, nothing chosen.

        Returns:
            The configuration.

        Raises:
            ValueError: the method cannot predict the items that are held out.

        Example:
            >>> config = ROSTER["bradley-terry"].config(prefs, holdout="new items")
            >>> config == FitConfig(BradleyTerryConfig())
            True
        """
        if self.known_items_only and holdout != "known items":
            raise ValueError(f"it needs {self.needs}, and the test is of {holdout}")
        method = (self.quick if smoke else self.make)(prefs)
        return FitConfig(method, holdout=holdout, group_by=group_by)

    def settings(self, *, smoke: bool = False) -> dict[str, object]:
        """What decides the method's numbers beside the data.

        Example:
            >>> ROSTER["drm"].settings()
            {'class': 'PrincipalDirectionsConfig', 'fields': {'rank': None, 'spread': None}}
        """
        # What is made for the data is made for rows of norm 1 with a head.
        table = np.eye(2, dtype=np.float32)
        prefs = from_arrays(table, [0], [1], [0], head=table[0])
        method = (self.quick if smoke else self.make)(prefs)
        return {"class": type(method).__name__, "fields": dataclasses.asdict(method)}


def _lore(prefs: Preferences) -> SimplexConfig:
    return SimplexConfig(scale=_scale(prefs))


def _lore_later(prefs: Preferences) -> SimplexConfig:
    """The anchor ties columns to the reference head; without a head it is left out."""
    anchor = 0.0 if prefs.head is None else LATER_VARIANT.anchor
    return dataclasses.replace(LATER_VARIANT, rank=_LATER_RANK, scale=_scale(prefs), anchor=anchor)


def _scale(prefs: Preferences) -> float:
    """Raw embeddings as published, shorter rows as long as suits the temperature.

    To three digits: programs are compiled for the number, and splits of the same data share them.
    """
    return max(1.0, float(f"{_ROW_NORM / rms_row_norm(prefs.embeddings):.3g}"))


def _short(make: Callable[[Preferences], SimplexConfig]) -> Callable[[Preferences], SimplexConfig]:
    return lambda prefs: dataclasses.replace(make(prefs), rank=2, steps=10)


_QUICK_POPULATION = PopulationConfig(
    steps=5,
    rank=2,
    ridge_population=10.0,
    ridge_deviation=3.0,
    item_effects=0.0,
    item_effects_deviation=0.0,
    num_components=0,
    logit_scale=1.0,
)

_QUICK_NETWORK: dict[str, Any] = {
    "steps": 4,
    "stop_after": 4,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
}

ROSTER: dict[str, Entry] = {
    "reference-head": Entry(
        "the reward model's own score, nothing learned",
        "",
        lambda prefs: ReferenceConfig(),
        lambda prefs: ReferenceConfig(),
        needs="a reference head",
    ),
    "bradley-terry": Entry(
        "one direction for everybody, with a ridge",
        "Bradley and Terry 1952",
        lambda prefs: BradleyTerryConfig(),
        lambda prefs: BradleyTerryConfig(ridge=10.0),
    ),
    "lore": Entry(
        "a basis, and weights on the simplex",
        "Bose et al. 2025, arXiv 2504.14439",
        _lore,
        _short(_lore),
    ),
    "lore-later": Entry(
        "the same as published later: steps in turn, an anchor to the head, columns pruned",
        "Bose et al. 2025, arXiv 2504.14439, for PRISM",
        _lore_later,
        _short(_lore_later),
    ),
    "ensemble": Entry(
        "linear heads on bootstraps over users, the same for everybody",
        "Zhang et al. 2024, arXiv 2401.16635",
        lambda prefs: EnsembleConfig(),
        lambda prefs: EnsembleConfig(ridge=10.0, num_heads=2),
    ),
    "full-rank": Entry(
        "a direction of everybody's own beside the shared one, without a basis",
        "after Tan et al. 2024, arXiv 2402.04401 (OPPU)",
        lambda prefs: FullRankConfig(),
        lambda prefs: FullRankConfig(ridge=10.0, tau=1.0),
    ),
    "drm": Entry(
        "weights on the principal directions of differences",
        "Luo et al. 2025, arXiv 2502.13131 (DRM)",
        lambda prefs: PrincipalDirectionsConfig(),
        lambda prefs: PrincipalDirectionsConfig(rank=2, spread=1.0),
    ),
    "pref": Entry(
        "answers as a users x pairs matrix, factorised",
        "Shenfeld et al. 2025, arXiv 2503.06358 (PReF)",
        lambda prefs: PReFConfig(),
        lambda prefs: PReFConfig(rank=2, beta=10.0, steps=5),
        needs="pairs that several users judged",
    ),
    "mrm": Entry(
        "shared rewards and a start of the weights, meta-learned for a few gradient steps",
        "Meta Reward Modeling 2026 (MRM)",
        lambda prefs: MetaLearnedConfig(),
        lambda prefs: MetaLearnedConfig(rank=2, temperature=10.0, steps=5),
    ),
    "p-rlhf": Entry(
        "a network that reads a response and a vector of the user's own",
        "Li et al. 2024, arXiv 2402.05133 (P-RLHF, individual users)",
        lambda prefs: UserEmbeddingsConfig(),
        lambda prefs: UserEmbeddingsConfig(**_QUICK_NETWORK, spread=1.0),
    ),
    "pal": Entry(
        "ideal points that are mixtures of prototypes, in the space of a network",
        "Chen et al. 2024, arXiv 2406.08469 (PAL-A)",
        lambda prefs: IdealPointsConfig(),
        lambda prefs: IdealPointsConfig(**_QUICK_NETWORK, spread=1.0),
    ),
    "vpl": Entry(
        "an encoder of the user's pairs, and a network given what it found",
        "Poddar et al. 2024, arXiv 2408.10075 (VPL)",
        lambda prefs: VariationalConfig(),
        lambda prefs: VariationalConfig(**_QUICK_NETWORK, kl_weight=1.0),
    ),
    "gpo": Entry(
        "a transformer that reads the user's pairs",
        "Zhao et al. 2023, arXiv 2310.11523 (GPO); Singh et al. 2025, arXiv 2502.19312 (FSPO)",
        lambda prefs: InContextConfig(),
        lambda prefs: InContextConfig(**_QUICK_NETWORK),
        needs=f"{InContextConfig.least_users} users or more",
    ),
    "matrix-factorisation": Entry(
        "effects and factors of responses, without their text",
        "Koren, Bell and Volinsky 2009",
        lambda prefs: MatrixFactorisationConfig(),
        lambda prefs: MatrixFactorisationConfig(
            rank=2, ridge_effects=1.0, ridge_factors=10.0, steps=5
        ),
        needs="items that other users judged",
        known_items_only=True,
    ),
    "nearest-users": Entry(
        "votes of the users who agreed so far",
        "Herlocker et al. 1999",
        lambda prefs: NearestUsersConfig(),
        lambda prefs: NearestUsersConfig(kappa=3.0),
        needs="items that other users judged",
        known_items_only=True,
    ),
    POPULATION_MODEL: Entry(
        "a basis, and Gaussian weights around a learned population",
        "this library's default",
        lambda prefs: PopulationConfig(),
        lambda prefs: _QUICK_POPULATION,
    ),
}


def entries(names: Iterable[str]) -> dict[str, Entry]:
    """The entries of some methods, in the order of the roster.

    Args:
        names: of methods in `ROSTER`.

    Returns:
        Names to entries.

    Raises:
        ValueError: there is no name, or one is not in the roster.

    Example:
        >>> list(entries(["gaussian", "bradley-terry"]))
        ['bradley-terry', 'gaussian']
    """
    names = list(names)
    known = ", ".join(ROSTER)
    if not names:
        raise ValueError(f"no method is given: some of {known} are expected")
    for name in names:
        if name not in ROSTER:
            near = difflib.get_close_matches(name, ROSTER, n=1)
            hint = f": is {near[0]} meant?" if near else f": one of {known} is expected"
            raise ValueError(f"there is no method {name!r}{hint}")
    return {name: entry for name, entry in ROSTER.items() if name in names}
