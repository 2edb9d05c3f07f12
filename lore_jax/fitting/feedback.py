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
from jaxtyping import Array, Float

from lore_jax.data.checks import random_key
from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.data.long_rows import set_aside_long_rows_of_answers
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.progress import Progress
from lore_jax.fitting.selection import choose
from lore_jax.fitting.steps import take_steps
from lore_jax.fitting.validation import SweepTable
from lore_jax.methods.as_said import AnswersPredictor
from lore_jax.methods.base import Choice, Info
from lore_jax.methods.gaussian import feedback_em, laplace_em
from lore_jax.methods.gaussian.feedback_em import AnswerBucket, AnswerState
from lore_jax.methods.gaussian.laplace_em import PopulationHyper
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.model.answer_model import AnswerModel, Ties, begin_answers, num_entries
from lore_jax.model.basis import make_basis
from lore_jax.model.basis_posterior import BasisPosterior, by_column
from lore_jax.model.model import Model, response_keys, rms_row_norm
from lore_jax.model.prior import GaussianPrior, ItemEffects
from lore_jax.parallel.buckets import FitData, Layout
from lore_jax.parallel.devices import first_shard, over_shards, place, split
from lore_jax.users.answering import AnswerPosterior, adapt_answers
from lore_jax.users.entries import buckets_of_users, lay_out_entries, most_answers

_PADDING = 0.25  # of a bucket's slots: how much padding one bucket fewer is worth


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
) -> FeedbackFit:
    """Fits the basis, everybody's weights, and how people answer together (`feedback_em`).

    Args:
        feedback: the answers of the seen users.
        config: what to fit: the population model, on one device. Its logit scale is 1, and users
            are one component, unless that is given otherwise, which is refused.
        key: the one source of randomness, or a seed.
        ties: which model ties follow, "davidson" or "rao-kupper".
        lapse: the share of answers at random.

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
    options = {"ties": ties, "lapse": lapse}
    running, state = start_feedback(feedback, config, key=key, **options)
    state, info = take_steps(running, state, progress=True)
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
        data: the table on the device, and the strict pairs.
        layout: of the users of the pairs.
        hyper: the choice as traced numbers.
        buckets: the answers on the device.
        steps: how many steps make the fit.
    """

    method: PopulationConfig
    choice: Choice
    sweeps: tuple[SweepTable, ...]
    feedback: Feedback
    data: FitData
    layout: Layout
    hyper: PopulationHyper
    buckets: tuple[AnswerBucket, ...]
    steps: int

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
        rank = len(self.hyper.columns) + 1
        program = _program(method, rank, self.feedback.has_ratings, count)
        state, info = program(state, self.data, (self.buckets, self.hyper))
        return state, Info(*map(first_shard, info))

    def finish(self, state: AnswerState) -> AnswersPredictor:
        """The model, how people answer, and the users, once all steps are taken."""
        rank, with_intercept = len(self.hyper.columns) + 1, self.feedback.has_ratings
        module, linear = make_basis(rank, self.method.hidden), not self.method.hidden

        def unknown(state: AnswerState, data: FitData, shared: tuple[Any, ...]) -> Any:
            return feedback_em.what_is_unknown(
                state,
                shared[0],
                dataclasses.replace(data, buckets=()),
                shared[1],
                module=module,
                with_intercept=with_intercept,
                linear=linear,
            )

        found = over_shards(unknown, donate=False)(state, self.data, (self.buckets, self.hyper))
        own, (uncertain, share) = jax.tree.map(
            lambda leaf: jnp.asarray(first_shard(leaf)), (state, found)
        )
        model = _model(self.method, own, self.hyper, self.feedback, uncertain, share)
        users = adapt_answers(model, own.answers, self.feedback)
        return AnswersPredictor(model, own.answers, users)


def start_feedback(
    feedback: Feedback,
    config: FitConfig = FitConfig(),
    *,
    key: jax.Array | int,
    ties: Ties = "davidson",
    lapse: float = 0.0,
    progress: bool = True,
) -> tuple[AnswerFit, AnswerState]:
    """Chooses what is to be chosen and makes the first state, for callers who fit in chunks.

    Args:
        feedback: the answers of the seen users.
        config: as of `fit_feedback`.
        key: the one source of randomness, or a seed.
        ties: which model ties follow.
        lapse: the share of answers at random.
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
    key = random_key(key)
    key_choice, key_init = jax.random.split(key)
    config = dataclasses.replace(config, method=method)
    with Progress(shown=progress) as shown:
        choice, sweeps = choose(pairs, config, key=key_choice, progress=shown)
    method = dataclasses.replace(method, **choice)
    (hyper,) = method.hypers([choice], pairs)
    data, layout = place(pairs, method.input_scale(pairs))
    rank = len(hyper.columns) + 1
    module, with_intercept = make_basis(rank, method.hidden), feedback.has_ratings
    buckets = answer_buckets(feedback)

    def begin(_: tuple[()], data: FitData, shared: tuple[Any, ...]) -> AnswerState:
        hyper, own, answers, buckets = shared
        own = jax.random.wrap_key_data(own)
        params = laplace_em.init(method, module, data, hyper, own).params
        return feedback_em.init(
            method, params, answers, buckets, rank=rank, with_intercept=with_intercept
        )

    shared = hyper, jax.random.key_data(key_init), answers, buckets
    state = over_shards(begin, donate=False)((), data, shared)
    # Where the first chunk will leave it; a leaf elsewhere would have the program compiled twice.
    state = jax.tree.map(lambda leaf: split(leaf, jax.local_devices()[:1]), state)
    steps = method.steps
    running = AnswerFit(method, choice, sweeps, feedback, data, layout, hyper, buckets, steps)
    return running, state


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


def answer_buckets(feedback: Feedback) -> tuple[AnswerBucket, ...]:
    """The answers of a joint fit: users of like length side by side, few buckets."""
    groups: list[np.ndarray] = []
    for users in buckets_of_users(feedback):  # the longest first
        if groups and _slots(feedback, np.concatenate([groups[-1], users])) <= (1 + _PADDING) * (
            _slots(feedback, groups[-1]) + _slots(feedback, users)
        ):
            groups[-1] = np.concatenate([groups[-1], users])
        else:
            groups.append(users)
    buckets = []
    for users in groups:
        counts = [most_answers(block, users) for block in feedback.blocks]
        entries = lay_out_entries(feedback, users, counts)
        first, second = jnp.asarray(entries.first), jnp.asarray(entries.second)
        outcome = tuple(map(jnp.asarray, entries.outcome))
        weight = jnp.asarray(entries.weight)
        buckets.append(AnswerBucket(first, second, weight, outcome, entries.kinds))
    return tuple(buckets)


def _slots(feedback: Feedback, users: np.ndarray) -> int:
    """Entries of these users in one bucket, padding included."""
    each = (num_entries(b.kind) * most_answers(b, users) for b in feedback.blocks)
    return len(users) * sum(each)


@functools.cache
def _program(
    method: PopulationConfig, rank: int, with_intercept: bool, count: int
) -> Callable[..., tuple[AnswerState, Info]]:
    module = make_basis(rank, method.hidden)
    options = {"module": module, "config": method, "with_intercept": with_intercept}

    def run(
        state: AnswerState,
        data: FitData,
        shared: tuple[tuple[AnswerBucket, ...], PopulationHyper],
    ) -> tuple[AnswerState, Info]:
        buckets, hyper = shared
        table = dataclasses.replace(data, buckets=())

        def one(state: AnswerState, _: None) -> tuple[AnswerState, Info]:
            return feedback_em.step(state, buckets, table, hyper, **options)

        return jax.lax.scan(one, state, length=count)

    return over_shards(run, devices=tuple(jax.local_devices()[:1]))


def _model(
    method: PopulationConfig,
    state: AnswerState,
    hyper: PopulationHyper,
    feedback: Feedback,
    uncertain: BasisPosterior | None,
    share: Float[Array, "2 responses"],
) -> Model:
    """Column 0 has weight 1 for everybody; the scale of the deviations is that of their columns."""
    rank, effects = len(hyper.columns) + 1, None
    if np.any(np.asarray(hyper.item_effects) > 0):
        judged = np.unique(np.concatenate([block.items.reshape(-1) for block in feedback.blocks]))
        size, ridges = by_column(hyper.item_effects, rank), laplace_em.ridges(hyper)
        effects = ItemEffects(
            jnp.asarray(response_keys(feedback.embeddings)[judged]),
            (size[None] * state.params["item_effects"])[judged],
            by_column(0.5 * hyper.item_effects**2 / ridges, rank),
            share.T[judged],
        )
    prior = GaussianPrior(jnp.eye(rank)[0], jnp.eye(rank)[:, 1:])
    return Model(
        make_basis(rank, method.hidden),
        state.params["basis"],
        jnp.asarray(rms_row_norm(feedback.embeddings), jnp.float32),
        prior,
        item_effects=effects,
        likelihood=method.likelihood,
        basis_posterior=uncertain,
    )
