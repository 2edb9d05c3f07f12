"""fit: preferences in, a model and everybody's weights out; what is open is chosen first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from lore_jax.data.checks import random_key
from lore_jax.data.long_rows import set_aside_long_rows
from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.programs import first_state, learned, many_steps, one_step
from lore_jax.fitting.progress import Progress
from lore_jax.fitting.selection import choose
from lore_jax.fitting.steps import take_steps
from lore_jax.fitting.validation import SweepTable
from lore_jax.methods.base import AnyMethod, BasisPredictor, Choice, Info, Predictor
from lore_jax.model.model import Model
from lore_jax.model.posterior import Posterior
from lore_jax.parallel.buckets import FitData, Layout
from lore_jax.parallel.devices import (
    Devices,
    Mapping,
    filled_up,
    first_shard,
    place,
    replicate,
    split,
)
from lore_jax.parallel.freed_memory import give_back_freed_memory
from lore_jax.parallel.lapack_threads import one_lapack_thread
from lore_jax.parallel.minibatches import PlacedMinibatches


class History(NamedTuple):
    """What happened during a fit.

    Attributes:
        loss: training loss before each step, in `loss_unit`.
        grad_norm: norm of the gradient before each step.
        choice: what was chosen, or given.
        sweeps: the validation tables it was chosen from; empty if everything was given.
        loss_unit: what the loss is.
    """

    loss: Float[Array | np.ndarray, " steps"]
    grad_norm: Float[Array | np.ndarray, " steps"]
    choice: Choice
    sweeps: tuple[SweepTable, ...]
    loss_unit: str


@dataclasses.dataclass(frozen=True, eq=False)
class JointFit:
    """A joint fit ready to run: everything but the state. Made by `start`.

    Attributes:
        method: the method, everything chosen.
        choice: what was chosen, or given.
        sweeps: the validation tables.
        prefs: the pairs.
        data: the pairs on devices, whole or in mini-batches.
        layout: where each user lives.
        hyper: the choice as traced numbers.
        steps: how many steps make the fit.
        devices: where it runs.
        mapping: how it is mapped over them.
    """

    method: AnyMethod
    choice: Choice
    sweeps: tuple[SweepTable, ...]
    prefs: Preferences
    data: FitData | PlacedMinibatches
    layout: Layout
    hyper: PyTree
    steps: int
    devices: tuple[Any, ...]
    mapping: Mapping

    @property
    def first_data(self) -> FitData:
        """Everything, or the first mini-batch."""
        return self.data if isinstance(self.data, FitData) else next(self.data.in_turn([0]))

    @one_lapack_thread()
    def advance(self, state: PyTree, taken: int, count: int) -> tuple[PyTree, Info]:
        """Takes `count` steps when `taken` lie behind; chunks of any sizes end in the same state.

        Args:
            state: the state, whose memory is given up.
            taken: how many steps it has behind it.
            count: how many to take.

        Returns:
            The next state, and loss and gradient norm before each step, `[count]`.
        """
        method = _without(self.method, self.choice)
        if isinstance(self.data, FitData):
            program = many_steps(method, count, self.mapping, self.devices)
            state, info = program(state, self.data, self.hyper)
            info = Info(*map(first_shard, info))
            if taken == 0:  # it was compiled for
                give_back_freed_memory()
            return state, info
        # Steps are dispatched one by one, every epoch in another order, each on a mini-batch of its
        # own: on a CPU a view of the table, which nothing copies.
        size, program, infos = len(self.data), one_step(method, self.mapping, self.devices), []
        epochs = {step // size for step in range(taken, taken + count)}
        orders = {epoch: np.random.default_rng(epoch).permutation(size) for epoch in epochs}
        numbers = [int(orders[i // size][i % size]) for i in range(taken, taken + count)]
        for data in self.data.in_turn(numbers):
            state, info = program(state, data, self.hyper)
            infos.append(info)
            # Steps that wait hold memory; a streamed table would be sent at once.
            if len(infos) > 1:
                infos[-2].loss.block_until_ready()
        return state, Info(
            *(np.array([first_shard(x) for x in xs]) for xs in zip(*infos, strict=True))
        )

    @one_lapack_thread()
    def finish(self, state: PyTree) -> Predictor:
        """The fitted method, once all steps are taken."""
        method = _without(self.method, self.choice.keys() - self.method.variants()[0].keys())
        finish = learned(method, self.devices)
        fitted = jax.block_until_ready(finish(state, self.first_data, self.hyper))
        give_back_freed_memory()
        predictor = self.method.export(fitted, self.layout, self.prefs)
        if not isinstance(predictor, BasisPredictor) or self.prefs.encoder is None:
            return predictor
        model = dataclasses.replace(predictor.model, encoder=self.prefs.encoder)
        return dataclasses.replace(predictor, model=model)


def fit(
    prefs: Preferences,
    config: FitConfig = FitConfig(),
    *,
    key: jax.Array | int,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
    progress: bool = True,
) -> tuple[Model, Posterior, History]:
    """Fits the basis and everybody's weights together; what is None is chosen on validation.

    The default is the population model (Laplace EM). Writes nothing.

    Args:
        prefs: the pairs of the seen users.
        config: what to fit: a method with a basis.
        key: the one source of randomness, or a seed.
        devices: where to; users and their pairs are split over them. None: the first device alone.
        mapping: "jit" (`NamedSharding`) or "pmap".
        progress: shows on standard error how far choosing and the fit have come: a bar on a
            terminal, elsewhere a line every half minute.

    Returns:
        The model, the posterior of the users of `prefs` in their order, and the history.

    Raises:
        ValueError: there are no pairs, the method cannot fit them (its rank exceeds the dim, it
            needs a reference head), it has no basis, or there are too few groups for the folds.

    Example:
        >>> config = FitConfig(BradleyTerryConfig(ridge=3.0))
        >>> model, users, history = fit(prefs, config, key=jax.random.key(0))
        >>> history.choice
        {'ridge': 3.0}

    Reference:
        Bose et al. 2025, arXiv 2504.14439, section 3.2.
    """
    where = {"devices": devices, "mapping": mapping}
    predictor, history = fit_predictor(prefs, config, key=key, progress=progress, **where)
    if not isinstance(predictor, BasisPredictor) or predictor.users is None:
        raise ValueError(
            f"{type(config.method).__name__} has no basis with weights: use fit_predictor"
        )
    return predictor.model, predictor.users, history


def fit_predictor(
    prefs: Preferences,
    config: FitConfig = FitConfig(),
    *,
    key: jax.Array | int,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
    progress: bool = True,
) -> tuple[Predictor, History]:
    """The same as `fit` for any method: what it exports, and the history."""
    where = {"devices": devices, "mapping": mapping}
    running, state = start(prefs, config, key=key, progress=progress, **where)
    state, info = take_steps(running, state, progress=progress)
    history = History(*info, running.choice, running.sweeps, running.method.loss_unit)
    return running.finish(state), history


def start(
    prefs: Preferences,
    config: FitConfig,
    *,
    key: jax.Array | int,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
    progress: bool = True,
) -> tuple[JointFit, PyTree]:
    """Chooses what is to be chosen and makes the first state, for callers who fit in chunks.

    Args:
        prefs: the pairs of the seen users.
        config: what to fit.
        key: the one source of randomness, or a seed.
        devices: where to.
        mapping: "jit" or "pmap".
        progress: shows how far choosing has come, as of `fit`.

    Returns:
        The fit and its first state.

    Raises:
        ValueError: as `fit`.

    Example:
        >>> running, state = start(prefs, FitConfig(PopulationConfig()), key=jax.random.key(0))
        >>> state, info = running.advance(state, 0, 50)  # doctest: +SKIP
    """
    for name, given, kind in (("prefs", prefs, Preferences), ("config", config, FitConfig)):
        if not isinstance(given, kind):
            raise ValueError(f"{name} is a {type(given).__name__}: {kind.__name__} is expected")
    prefs = set_aside_long_rows(prefs)
    if prefs.num_pairs == 0 or not prefs.pair_weight.any():
        raise ValueError("there are no pairs with any weight: a fit needs at least one")
    devices = tuple(devices) if devices else tuple(jax.local_devices()[:1])
    key = random_key(key)
    key_choice, key_init = jax.random.split(key)
    scale = config.method.input_scale(prefs)
    with Progress(shown=progress) as shown:
        choice, sweeps = choose(prefs, config, key=key_choice, devices=devices, progress=shown)
    method = dataclasses.replace(config.method, **choice)
    if method.num_minibatches > 1:
        data = PlacedMinibatches(prefs, scale, devices, method.num_minibatches)
        layout = data.layout
    else:
        rows = filled_up(prefs.embeddings)  # so that data sets share programs
        filled = dataclasses.replace(prefs, embeddings=rows)
        streamed = getattr(method, "streams_table", False)
        data, layout = place(filled, scale, devices, streamed=streamed)
    (hyper,) = method.hypers([choice], prefs)
    hyper = jax.tree.map(lambda leaf: replicate(np.asarray(leaf), devices), hyper)
    steps = method.num_steps([choice])
    running = JointFit(method, choice, sweeps, prefs, data, layout, hyper, steps, devices, mapping)
    shared = hyper, np.asarray(jax.random.key_data(key_init))
    state = first_state(_without(method, choice), devices)((), running.first_data, shared)
    jax.block_until_ready(state)
    if isinstance(data, FitData):  # the rest of the fit is about users, and needs the memory
        running = dataclasses.replace(running, data=dataclasses.replace(data, distinct=None))
        del data
    give_back_freed_memory()
    # Where the first chunk will leave it; a leaf elsewhere would have the program compiled twice.
    return running, jax.tree.map(lambda leaf: split(leaf, devices), state)


def _without(method: AnyMethod, names: Iterable[str]) -> AnyMethod:
    """The method without what reaches programs by `hypers`: fits that differ in it share them."""
    return dataclasses.replace(method, **dict.fromkeys(names))
