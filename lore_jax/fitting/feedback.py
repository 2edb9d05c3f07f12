"""fit_feedback: answers of every kind in; a model, how people answer, and everybody's weights out.

Ridges, rank and sizes of effects that are None are chosen as ever, on validation folds of the
strict pairs that the same answers make, ratings of different prompts among them; those pairs are
also where the fit begins.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from lore_jax.data.checks import random_key
from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.data.long_rows import set_aside_long_rows_of_answers
from lore_jax.fitting.answer_buckets import lay_out_answers
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.progress import Progress
from lore_jax.fitting.selection import choose
from lore_jax.fitting.steps import take_steps
from lore_jax.fitting.validation import SweepTable
from lore_jax.methods.as_said import AnswersPredictor
from lore_jax.methods.base import Choice, Info
from lore_jax.methods.gaussian import feedback_em, laplace_em
from lore_jax.methods.gaussian.feedback_em import AnswerState
from lore_jax.methods.gaussian.fitted_model import fitted_model
from lore_jax.methods.gaussian.laplace_em import PopulationHyper
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.model.answer_model import AnswerModel, Ties, begin_answers
from lore_jax.model.basis import make_basis
from lore_jax.model.basis_posterior import BasisPosterior
from lore_jax.model.model import Model, rms_row_norm
from lore_jax.parallel.buckets import FitData, UserLayout
from lore_jax.parallel.devices import (
    Devices,
    Mapping,
    first_shard,
    over_shards,
    place,
    replicate,
    split,
    with_buckets,
)
from lore_jax.parallel.lapack_threads import one_lapack_thread
from lore_jax.users.answering import AnswerPosterior, adapt_answers


class FeedbackFit(NamedTuple):
    """What a fit to answers of every kind has learned.

    Attributes:
        model: for whatever takes a model: margins, scores, adapting to pairs.
        answers: cut points, ties, spread of intercepts.
        users: the posterior of the users of the fit.
        loss: expected loss of an entry before each step, in nats.
        choice: what was chosen, or given.
    """

    model: Model
    answers: AnswerModel
    users: AnswerPosterior
    loss: Float[np.ndarray, " steps"]
    choice: Choice


def fit_feedback(
    feedback: Feedback,
    config: FitConfig = FitConfig(),
    *,
    key: jax.Array | int,
    ties: Ties = "davidson",
    lapse: float = 0.0,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
    progress: bool = True,
) -> FeedbackFit:
    """Fits the basis, everybody's weights, and how people answer together (`feedback_em`).

    Args:
        feedback: the answers of the seen users.
        config: what to fit: the population model. Its logit scale is 1, and users are one
            component, unless that is given otherwise, which is refused.
        key: the one source of randomness, or a seed.
        ties: which model ties follow, "davidson" or "rao-kupper".
        lapse: the share of answers at random.
        devices: where to; users and their answers are split over them. None: the first device
            alone.
        mapping: "jit" (`NamedSharding`) or "pmap".
        progress: shows on standard error how far choosing and the fit have come: a bar on a
            terminal, elsewhere a line every half minute.

    Returns:
        The fit.

    Raises:
        ValueError: there are no answers that order two responses, all answers of a scale say the
            same, or the method is not the population model.

    Example:
        >>> given = PopulationConfig(2, 0.05, rank=2, ridge_population=1.0, ridge_deviation=1.0)
        >>> method = dataclasses.replace(given, item_effects=0.0, item_effects_deviation=0.0)
        >>> fitted = fit_feedback(feedback, FitConfig(method), key=jax.random.key(0))
        >>> fitted.model.rank, fitted.answers.cuts("rating 5").shape
        (2, (4,))
    """
    running, state = start_feedback(
        feedback,
        config,
        key=key,
        ties=ties,
        lapse=lapse,
        devices=devices,
        mapping=mapping,
        progress=progress,
    )
    state, info = take_steps(running, state, progress=progress)
    fitted = running.finish(state)
    loss = np.asarray(info.loss)
    return FeedbackFit(fitted.model, fitted.answers, fitted.users, loss, running.choice)


@dataclasses.dataclass(frozen=True, eq=False)
class AnswerFit:
    """A joint fit to answers ready to run: everything but the state. Made by `start_feedback`.

    Attributes:
        method: the method, everything chosen.
        choice: what was chosen, or given.
        sweeps: the validation tables of the strict pairs.
        feedback: the answers.
        data: the answers on devices.
        layout: where each user lives.
        hyper: the choice as traced numbers.
        steps: how many steps make the fit.
        devices: where it runs.
        mapping: how it is mapped over them.
    """

    method: PopulationConfig
    choice: Choice
    sweeps: tuple[SweepTable, ...]
    feedback: Feedback
    data: FitData
    layout: UserLayout
    hyper: PopulationHyper
    steps: int
    devices: tuple[Any, ...]
    mapping: Mapping

    @one_lapack_thread()
    def advance(self, state: AnswerState, taken: int, count: int) -> tuple[AnswerState, Info]:
        """Takes `count` steps when `taken` lie behind; chunks of any sizes end in the same state.

        Args:
            state: the state, whose memory is given up.
            taken: how many steps it has behind it.
            count: how many to take.

        Returns:
            The next state, and loss and gradient norm before each step, `[count]`.
        """
        method = dataclasses.replace(self.method, **dict.fromkeys(self.choice))
        static = method, len(self.hyper.columns) + 1, self.feedback.has_ratings
        program = _program(*static, count, self.mapping, self.devices)
        state, info = program(state, self.data, self.hyper)
        return state, Info(*map(first_shard, info))

    @one_lapack_thread()
    def finish(self, state: AnswerState) -> AnswersPredictor:
        """The model, how people answer, and the users, once all steps are taken."""
        static = len(self.hyper.columns) + 1, self.method.hidden, self.feedback.has_ratings
        found = _unknown(*static, self.devices)(state, self.data, self.hyper)
        (params, answers), (posterior, share) = jax.tree.map(
            lambda leaf: jnp.asarray(first_shard(leaf)), ((state.params, state.answers), found)
        )
        hyper = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), self.hyper)
        judged = np.zeros(self.feedback.num_responses, bool)
        for block in self.feedback.blocks:
            judged[block.items] = True
        model = fitted_model(
            self.method,
            params,
            hyper,
            input_scale=jnp.asarray(rms_row_norm(self.feedback.embeddings), jnp.float32),
            logit_scale=1.0,  # as `answer_method` says
            posterior=posterior,
            share=share,
            embeddings=self.feedback.embeddings,
            judged=judged,
        )
        model = dataclasses.replace(model, encoder=self.feedback.encoder)
        users = adapt_answers(model, answers, self.feedback)
        return AnswersPredictor(model, answers, users)


def start_feedback(
    feedback: Feedback,
    config: FitConfig = FitConfig(),
    *,
    key: jax.Array | int,
    ties: Ties = "davidson",
    lapse: float = 0.0,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
    progress: bool = True,
) -> tuple[AnswerFit, AnswerState]:
    """Chooses what is to be chosen and makes the first state, for callers who fit in chunks.

    Args:
        feedback: the answers of the seen users.
        config: as of `fit_feedback`.
        key: the one source of randomness, or a seed.
        ties: which model ties follow.
        lapse: the share of answers at random.
        devices: where to.
        mapping: "jit" or "pmap".
        progress: shows how far choosing has come, as of `fit`.

    Returns:
        The fit and its first state, every leaf with an axis of one shard before it.

    Raises:
        ValueError: as `fit_feedback`.

    Example:
        >>> running, state = start_feedback(feedback, FitConfig(), key=0)  # doctest: +SKIP
        >>> state, info = running.advance(state, 0, 50)  # doctest: +SKIP
    """
    method = answer_method(config)
    feedback = set_aside_long_rows_of_answers(feedback)
    answers = begin_answers(feedback, ties=ties, lapse=lapse)
    pairs = strict_pairs(feedback, across_prompts=True)
    if not pairs.pair_weight.any():
        raise ValueError(f"{feedback!r}: none of them orders two responses, so nothing is learned")
    devices = tuple(devices) if devices else tuple(jax.local_devices()[:1])
    key = random_key(key)
    key_choice, key_init = jax.random.split(key)
    config = dataclasses.replace(config, method=method)
    with Progress(shown=progress) as shown:
        choice, sweeps = choose(pairs, config, key=key_choice, devices=devices, progress=shown)
    method = dataclasses.replace(method, **choice)
    (hyper,) = method.hypers([choice], pairs)
    hyper, answers = jax.tree.map(
        lambda leaf: replicate(np.asarray(leaf), devices), (hyper, answers)
    )
    rank = len(hyper.columns) + 1
    static = dataclasses.replace(method, **dict.fromkeys(choice)), rank
    data, _ = place(pairs, method.input_scale(pairs), devices)
    shared = hyper, np.asarray(jax.random.key_data(key_init))
    params = _begin_basis(*static, devices)((), data, shared)
    buckets, layout = lay_out_answers(feedback, len(devices))
    data = with_buckets(data, buckets, layout, devices)
    state = _begin(*static, feedback.has_ratings, devices)(params, data, answers)
    # Where the first chunk will leave it; a leaf elsewhere would have the program compiled twice.
    state = jax.tree.map(lambda leaf: split(leaf, devices), state)
    about = method, choice, sweeps, feedback, data, layout, hyper
    return AnswerFit(*about, method.steps, devices, mapping), state


def answer_method(config: FitConfig) -> PopulationConfig:
    """The population model that answers of every kind are fitted by.

    Raises:
        ValueError: the method is another one, or has a logit scale or components of its own.

    Example:
        >>> answer_method(FitConfig()).num_components
        0
    """
    method = config.method
    if not isinstance(method, PopulationConfig):
        raise ValueError(f"the method is {type(method).__name__}: a PopulationConfig is expected")
    for name, value in (("logit_scale", 1.0), ("num_components", 0)):
        if getattr(method, name) not in (None, value):
            got = f"{name} is {getattr(method, name)}"
            raise ValueError(f"{got}: {value:g} is expected where answers are of every kind")
    return dataclasses.replace(method, logit_scale=1.0, num_components=0)


@functools.cache
def _begin_basis(
    method: PopulationConfig, rank: int, devices: tuple[Any, ...]
) -> Callable[..., PyTree]:
    module = make_basis(rank, method.hidden)

    def begin(_: tuple[()], data: FitData, shared: tuple[PopulationHyper, Array]) -> PyTree:
        hyper, key = shared
        return laplace_em.init(method, module, data, hyper, jax.random.wrap_key_data(key)).params

    return over_shards(begin, donate=False, devices=devices)


@functools.cache
def _begin(
    method: PopulationConfig, rank: int, with_intercept: bool, devices: tuple[Any, ...]
) -> Callable[..., AnswerState]:
    options: dict[str, Any] = {"rank": rank, "with_intercept": with_intercept}

    def begin(params: PyTree, data: FitData, answers: AnswerModel) -> AnswerState:
        return feedback_em.init(method, params, answers, data, **options)

    return over_shards(begin, donate=False, devices=devices)


@functools.cache
def _unknown(
    rank: int, hidden: tuple[int, ...], with_intercept: bool, devices: tuple[Any, ...]
) -> Callable[..., tuple[BasisPosterior | None, Array]]:
    options: dict[str, Any] = {"module": make_basis(rank, hidden), "linear": not hidden}
    unknown = functools.partial(
        feedback_em.what_is_unknown, with_intercept=with_intercept, **options
    )
    return over_shards(unknown, donate=False, devices=devices)


@functools.cache
def _program(
    method: PopulationConfig,
    rank: int,
    with_intercept: bool,
    count: int,
    mapping: Mapping,
    devices: tuple[Any, ...],
) -> Callable[..., tuple[AnswerState, Info]]:
    module = make_basis(rank, method.hidden)
    options = {"module": module, "config": method, "with_intercept": with_intercept}

    def run(state: AnswerState, data: FitData, hyper: PopulationHyper) -> tuple[AnswerState, Info]:
        def one(state: AnswerState, _: None) -> tuple[AnswerState, Info]:
            return feedback_em.step(state, data, hyper, **options)

        return jax.lax.scan(one, state, length=count)

    return over_shards(run, mapping, devices=devices)
