"""The contract of methods: everything that fits, selects, evaluates and saves asks of one.

A method is its configuration, a frozen dataclass. A field that is None is chosen on validation; the
values chosen, a `Choice`, are put in its place when the choice is made. Nothing outside a method
asks which method it is: adding one is one file, and a row in `fitting.config.METHODS` for the
command line.

`init`, `step`, `finish` and `predict` are written for one shard of users and traced by jax: they
read what validation chooses from `hyper` alone, so that a sweep over choices is one compiled
program.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lore_jax.data.preferences import Preferences
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.parallel.buckets import FitData, Layout
from lore_jax.parallel.pytree import pytree
from lore_jax.solvers.likelihood import Likelihood
from lore_jax.users.adapt import adapt
from lore_jax.users.predict import Margins, margins

Choice = dict[str, float]  # names of fields of a method to the values chosen
State = TypeVar("State")
Hyper = TypeVar("Hyper")
Fitted = TypeVar("Fitted")


class Info(NamedTuple):
    """What a step leaves for the history.

    Attributes:
        loss: training loss before the step, in the method's `loss_unit`.
        grad_norm: norm of the gradient before the step.
    """

    loss: Float[Array | np.ndarray, "*steps"]
    grad_norm: Float[Array | np.ndarray, "*steps"]


@pytree
class FoldWeights:
    """The roles of one bucket's pairs in a validation fold; axes `[shards, shots, users]`.

    Attributes:
        fit: weight of a pair in the joint fit.
        shots: weight of a pair in adapting its user to the fitted basis.
        test: 1 for pairs to predict.
    """

    fit: Float[Array, "... shots users"]
    shots: Float[Array, "... shots users"]
    test: Float[Array, "... shots users"]


class Prediction(NamedTuple):
    """What is predicted of a bucket's pairs, for each variant.

    Attributes:
        loss: minus the log probability of the recorded choice, in nats.
        correct: 1 where the choice is predicted, 0 where not, 1/2 on a tie.
    """

    loss: Float[Array, "variants shots users"]
    correct: Float[Array, "variants shots users"]


def predicted(
    likelihood: Likelihood,
    mean: Float[Array, "variants shots users"],
    variance: Float[Array, "variants shots users"] | float = 0.0,
) -> Prediction:
    """The prediction that margins make, their uncertainty integrated."""
    log_probability = likelihood.predictive(mean, jnp.broadcast_to(variance, mean.shape))
    return Prediction(-log_probability, 0.5 * (1.0 + jnp.sign(mean)))


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of selection: some settings, compared on validation folds.

    Attributes:
        name: what is chosen.
        method: how the stage fits: the method itself, or the same in fewer steps.
        candidates: changes of the choice so far, the most regularised first: so ties are broken.
        open_ended: which of the numbers have a grid, of ridges say, that goes on beyond its ends
            when the best is at one of them.
        compared: how many of the method's variants, the first ones, are compared; None: all.
    """

    name: str
    method: AnyMethod
    candidates: tuple[Choice, ...]
    open_ended: tuple[str, ...] = ()
    compared: int | None = None

    def variants(self) -> Sequence[Choice]:
        """The variants that are compared."""
        return self.method.variants()[: self.compared]

    def choices(self, winner: Choice) -> list[Choice]:
        """The settings to compare, given the choice so far."""
        return [{**winner, **candidate} for candidate in self.candidates]

    def beyond(self, best: Choice, compared: Sequence[Choice]) -> list[Choice]:
        """The next settings where the best of those compared is at an end of an open-ended grid.

        The grid goes on by the ratio of the two values at its end.

        Example:
            >>> stage = Stage("ridge", None, (), open_ended=("ridge",))
            >>> stage.beyond({"ridge": 9.0}, [{"ridge": 9.0}, {"ridge": 3.0}])
            [{'ridge': 27.0}]
        """
        further = []
        for name in self.open_ended:
            values = sorted({choice[name] for choice in compared})
            if len(values) < 2:
                continue
            if best[name] == values[-1]:
                further.append({**best, name: values[-1] ** 2 / values[-2]})
            elif best[name] == values[0]:
                further.append({**best, name: values[0] ** 2 / values[1]})
        return further


class Predictor(Protocol):
    """A fitted method: what `evaluate`, saving and the command line know of it."""

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins of the test pairs of users known by their shots alone, who may have none."""
        ...

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins of the test pairs of the users of the fit; `shots` are their training pairs."""
        ...

    def save(
        self, path: str | os.PathLike[str], *, encoder: Mapping[str, object] | None = None
    ) -> None:
        """Saves it in a folder; what was saved there is replaced."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class BasisPredictor:
    """A basis and posteriors of weights on it.

    Attributes:
        model: the model.
        users: the posterior of the users of the fit; None: users are known by their shots alone.

    Example:
        >>> BasisPredictor(model).adapted(shots, test).mean.shape == (test.num_pairs,)
        True
    """

    model: Model
    users: Posterior | None = None

    def adapted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins under the posterior after the shots."""
        return margins(self.model, adapt(self.model, shots), test)

    def fitted(self, shots: Preferences, test: Preferences) -> Margins:
        """Margins under the posterior of the fit."""
        if self.users is None:
            return self.adapted(shots, test)
        return margins(self.model, self.users, test)

    def save(
        self, path: str | os.PathLike[str], *, encoder: Mapping[str, object] | None = None
    ) -> None:
        """Saves model and users, for `lore.load`."""
        from lore_jax.model.saved import save  # Orbax is slow to import

        save(path, self.model, self.users, encoder=encoder, overwrite=True)


class Method(Protocol[State, Hyper, Fitted]):
    """What is asked of a method, a frozen, hashable dataclass.

    One with an attribute `streams_table`, which is True, takes a `StreamedTable` for a table: it
    touches embeddings by `table_rows.map_rows` alone. One with methods `read_by_init` or
    `read_by_steps`, which take a `Hyper` and blank what `init`, or `init` and `step`, do not read,
    spares validation to begin anew, or to step anew, where settings agree in the rest.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def loss_unit(self) -> str:
        """What `Info.loss` is, for people: "nats a pair", say."""
        ...

    @property
    def by_inner_products(self) -> bool:
        """Whether rotating the table changes nothing: settings are then chosen in few coordinates.

        Such a method heeds `FitData.outside`.
        """
        ...

    @property
    def num_minibatches(self) -> int:
        """1: steps are taken on everything. More: at most so many parts of the table in turn."""
        ...

    def stages(self, prefs: Preferences) -> Sequence[Stage]:
        """How what is None is chosen; a stage with a single candidate and variant costs nothing.

        Raises:
            ValueError: these preferences cannot be fitted.
        """
        ...

    def variants(self) -> Sequence[Choice]:
        """What is chosen after a fit, so that one fit serves all; the most regularised first."""
        ...

    def input_scale(self, prefs: Preferences) -> float:
        """What the basis divides embeddings by."""
        ...

    def hypers(self, choices: Sequence[Choice], prefs: Preferences) -> list[Hyper]:
        """Each choice as traced numbers, all of one structure: ranks are masks of columns."""
        ...

    def num_steps(self, choices: Sequence[Choice]) -> int:
        """How many steps fit any of these choices; 0: `init` is the optimum."""
        ...

    def init(self, data: FitData, hyper: Hyper, *, key: jax.Array) -> State:
        """The state before the first step; of mini-batches, `data` is the first.

        Leaves that belong to users are `PerUser`, draws for users go by `data.users`.
        """
        ...

    def step(self, state: State, data: FitData, hyper: Hyper) -> tuple[State, Info]:
        """One step, on everything or on a mini-batch."""
        ...

    def finish(self, state: State, data: FitData, hyper: Hyper) -> Fitted:
        """What the fit has learned, for all of `variants`."""
        ...

    def predict(
        self, fitted: Fitted, data: FitData, fold: Sequence[FoldWeights], hyper: Hyper
    ) -> list[Prediction]:
        """Predictions of each bucket's pairs of a fold, in all of `variants`."""
        ...

    def export(self, fitted: Fitted, layout: Layout, prefs: Preferences) -> Predictor:
        """The fitted method, everything chosen; leaves of `fitted` have a leading shard axis."""
        ...


AnyMethod: TypeAlias = Method[Any, Any, Any]
