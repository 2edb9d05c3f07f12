"""fit: preferences in, a model and everybody's weights out; what is not given is chosen on
validation.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.data.preferences import Preferences
from lore_jax.fitting.config import FitConfig, check, make_basis
from lore_jax.fitting.selection import Choice, choose, gaussian_hyper, simplex_hyper
from lore_jax.fitting.validation import SweepTable
from lore_jax.methods.gaussian import laplace_em as population
from lore_jax.methods.gaussian.mixture_em import learn_mixture
from lore_jax.methods.simplex import joint_fit as simplex
from lore_jax.model.model import Model, reference_head, response_keys, rms_row_norm
from lore_jax.model.posterior import Posterior, population_posterior
from lore_jax.model.prior import ItemEffects, Population
from lore_jax.parallel.buckets import FitData, features
from lore_jax.parallel.devices import (
    Devices,
    Mapping,
    first_shard,
    over_shards,
    place,
    replicate,
    shard_copies,
    split,
)
from lore_jax.parallel.minibatches import PlacedMinibatches
from lore_jax.solvers.mixture import Mixture
from lore_jax.users.adapt import adapt


class History(NamedTuple):
    """What happened during a fit.

    Attributes:
        loss: training loss before each step, in nats a pair.
        grad_norm: norm of the gradient before each step.
        choice: rank, ridges, item effects, components and logit_scale of the fit.
        sweeps: the validation tables they were chosen from; empty if everything was given.
    """

    loss: np.ndarray
    grad_norm: np.ndarray
    choice: Choice
    sweeps: tuple[SweepTable, ...]


class JointFit(NamedTuple):
    """A joint fit ready to run: everything but the state. Made by `start`; `state` advances it,
    `finish` ends it.

    Attributes:
        advance: `(state, steps) -> (state, info)`, jitted; `info` holds `loss` and `grad_norm`,
            `[steps]`.
        finish: `state -> (model, posterior of the users of the fit)`.
        steps: how many steps make the fit.
        choice: rank, ridges, item effects, components and logit_scale.
        sweeps: the validation tables.
    """

    advance: Callable[[Any, int], tuple[Any, dict[str, np.ndarray]]]
    finish: Callable[[Any], tuple[Model, Posterior]]
    steps: int
    choice: Choice
    sweeps: tuple[SweepTable, ...]


def fit(
    prefs: Preferences,
    config: FitConfig = FitConfig(),
    *,
    key: jax.Array,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
) -> tuple[Model, Posterior, History]:
    """Fits the basis and everybody's weights together; rank and ridges are chosen on validation if
    not given.

    Gaussian family: Laplace EM (`population.py`). Simplex family: the paper's objective
    (`simplex.py`). Prints nothing and writes nothing.

    Args:
        prefs: the pairs of the seen users.
        config: what to fit.
        key: the one source of randomness.
        devices: where to; users and their pairs are split over them. None: the first device alone.
        mapping: "jit" (`NamedSharding`) or "pmap".

    Returns:
        The model, the posterior of the users of `prefs` in their order, and the history.

    Raises:
        ValueError: there are no pairs, the rank exceeds the dim, the reference head is asked for
            and absent, or there are too few groups for the folds.

    Example:
        >>> model, users, history = fit(prefs, FitConfig(), key=jax.random.key(0))
        >>> history.choice
        {'rank': 9, 'ridge_population': 10.0, 'ridge_deviation': 10.0, 'item_effects': 1.0,
        'num_components': 0, 'logit_scale': 1.15}

    Reference:
        Bose et al. 2025, arXiv 2504.14439, section 3.2.
    """
    if config.rank == 0:
        if prefs.head is None:
            raise ValueError("rank is 0, the reference head, but the preferences have none")
        model = reference_head(prefs.head)
        empty = np.zeros(0, np.float32)
        return (
            model,
            population_posterior(model, prefs.num_users, prefs.user_ids),
            History(empty, empty, {"rank": 0}, ()),
        )
    running, state = start(prefs, config, key=key, devices=devices, mapping=mapping)
    info = {"loss": np.zeros(0, np.float32), "grad_norm": np.zeros(0, np.float32)}
    if running.steps:
        state, info = running.advance(state, running.steps)
    model, users = running.finish(state)
    loss, grad_norm = (np.asarray(info[name]) for name in ("loss", "grad_norm"))
    return model, users, History(loss, grad_norm, running.choice, running.sweeps)


def start(
    prefs: Preferences,
    config: FitConfig,
    *,
    key: jax.Array,
    devices: Devices | None = None,
    mapping: Mapping = "jit",
) -> tuple[JointFit, Any]:
    """Chooses what is to be chosen and makes the state before the first step, for callers who run a
    fit in chunks.

    Args:
        prefs: the pairs of the seen users.
        config: what to fit; rank 0 has nothing to run.
        key: the one source of randomness.
        devices: where to.
        mapping: "jit" or "pmap".

    Returns:
        The fit and its first state. Chunks of any sizes that add up to `steps` end in the same
        state.

    Raises:
        ValueError: as `fit`.

    Example:
        >>> running, state = start(prefs, FitConfig(), key=jax.random.key(0))
        >>> state, info = running.advance(state, 50)
    """
    check(prefs, config)
    devices = list(devices) if devices else jax.local_devices()[:1]
    key_choice, key_init = jax.random.split(key)
    choice, sweeps = choose(prefs, config, key=key_choice, devices=devices)
    begin = _start_simplex if config.family == "simplex" else _start_gaussian
    step, finish, steps, state, data, hyper = begin(prefs, config, choice, key_init, devices)
    # Where the first chunk will leave it; a leaf elsewhere would have the program compiled twice.
    state = jax.tree.map(lambda leaf: split(leaf, devices), state)
    hyper = jax.tree.map(lambda leaf: replicate(np.asarray(leaf), devices), hyper)

    def advance(state: Any, steps: int) -> tuple[Any, dict[str, np.ndarray]]:
        if isinstance(data, PlacedMinibatches):
            return _pass_over_minibatches(
                _one_step(*step, mapping, tuple(devices)), state, data, hyper, steps
            )
        state, info = _chunk(*step, steps, mapping, tuple(devices))(state, data, hyper)
        return state, {name: first_shard(values) for name, values in info.items()}

    return JointFit(advance, finish, steps, choice, sweeps), state


@functools.cache
def _chunk(
    step: Callable[..., Any],
    module: Any,
    settings: Any,
    steps: int,
    mapping: Mapping,
    devices: tuple[Any, ...],
) -> Callable[..., Any]:
    """A chunk of steps on all shards; cached, so that fits of one shape share a compiled program."""

    def run(state: Any, data: FitData, hyper: Any) -> tuple[Any, dict[str, jax.Array]]:
        one = functools.partial(step, module=module, config=settings)
        return jax.lax.scan(lambda carry, _: one(carry, data, hyper), state, length=steps)

    return over_shards(run, mapping, devices=devices)


@functools.cache
def _one_step(
    step: Callable[..., Any], module: Any, settings: Any, mapping: Mapping, devices: tuple[Any, ...]
) -> Callable[..., Any]:
    return over_shards(
        functools.partial(step, module=module, config=settings), mapping, devices=devices
    )


def _pass_over_minibatches(
    step: Callable[..., Any],
    state: simplex.SimplexState,
    minibatches: PlacedMinibatches,
    hyper: Any,
    steps: int,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Steps on the minibatches in turn, every epoch in another order, which the number of steps behind
    decides.

    Steps are dispatched one by one, each on a minibatch of its own: on a CPU a view of the table, which
        nothing copies.
    """
    taken, infos = simplex.steps_taken(state), []
    epochs = {step // len(minibatches) for step in range(taken, taken + steps)}
    orders = {epoch: np.random.default_rng(epoch).permutation(len(minibatches)) for epoch in epochs}
    numbers = (
        int(orders[step // len(minibatches)][step % len(minibatches)])
        for step in range(taken, taken + steps)
    )
    for data in minibatches.in_turn(numbers):
        state, info = step(state, data, hyper)
        infos.append(info)
        if (
            len(infos) > 1
        ):  # steps that wait hold memory, and a table that is streamed would be sent at once
            infos[-2]["loss"].block_until_ready()
    return state, {name: np.array([first_shard(info[name]) for info in infos]) for name in infos[0]}


@functools.cache
def _first_state(module: Any, settings: population.PopulationConfig) -> Callable[..., Any]:
    def begin(
        keys: jax.Array, data: FitData, hyper: population.PopulationHyper
    ) -> population.PopulationState:
        return population.init(settings, module, data, hyper, keys)

    return over_shards(begin, donate=False)


def _start_gaussian(
    prefs: Preferences, config: FitConfig, choice: Choice, key: jax.Array, devices: Devices
) -> tuple[Any, ...]:
    rank = int(choice["rank"])
    module, hyper, scale = (
        make_basis(config, rank),
        gaussian_hyper(choice, rank),
        rms_row_norm(prefs.embeddings),
    )
    data, _ = place(prefs, scale, devices)

    def finish(state: population.PopulationState) -> tuple[Model, Posterior]:
        state = dataclasses.replace(state, params=_rescaled(state.params, choice["logit_scale"]))
        params = jax.tree.map(lambda leaf: jnp.asarray(first_shard(leaf)), state.params)
        terms = None
        if choice["item_effects"] > 0:
            # A response that nobody judged is as unknown as one that the table does not have.
            judged = np.unique(
                np.concatenate(
                    [side[prefs.pair_weight > 0] for side in (prefs.chosen, prefs.rejected)]
                )
            )
            values = jnp.asarray(choice["item_effects"] * params["terms"])[judged]
            variance = choice["logit_scale"] ** 2 * population.item_effect_variance(hyper)
            terms = ItemEffects(response_keys(prefs.embeddings)[judged], values, variance)
        # Column 0 has weight 1 for everybody; the scale of the deviations is that of their columns.
        prior = Population(jnp.eye(rank)[0], jnp.eye(rank)[:, 1:])
        if choice["num_components"]:
            prior = _with_mixture(
                prior, _mixture(module, int(choice["num_components"]))(state, data, hyper)
            )
        model = Model(module, params["basis"], jnp.float32(scale), prior, "gaussian", terms=terms)
        return model, adapt(model, prefs)

    keys = shard_copies(jax.random.key_data(key), devices)
    state = _first_state(module, config.population)(jax.random.wrap_key_data(keys), data, hyper)
    step = (population.step, module, config.population)
    steps = 0 if population.is_convex(module, hyper) else config.population.steps
    return step, finish, steps, state, data, hyper


def _rescaled(params: Any, by: float) -> Any:
    """The parameters whose rewards are `by` times as large: the last layer, and the responses'
    terms.
    """
    basis = params["basis"]
    return {"basis": {**basis, "V": by * basis["V"]}, "terms": by * params["terms"]}


@functools.cache
def _mixture(module: Any, num_components: int) -> Callable[..., Any]:
    def learn(
        state: population.PopulationState, data: FitData, hyper: population.PopulationHyper
    ) -> Mixture:
        table = population.table_of_rewards(module, state.params, data, hyper)
        differences = [features(table, bucket) for bucket in data.buckets]
        learned = learn_mixture(
            differences,
            [bucket.pair_weight for bucket in data.buckets],
            num_components.bit_length() - 1,
        )
        return jax.tree.map(lambda leaf: leaf[-1], learned)

    return over_shards(learn, donate=False)


def _with_mixture(prior: Population, learned: Mixture) -> Population:
    """The population with components, in coordinates in which all users together have mean 0 and
    covariance I.
    """
    components = jax.tree.map(
        lambda leaf: np.asarray(leaf[0], np.float64), learned
    )  # the same on every shard
    mean, covariance = (np.asarray(moment) for moment in components.moments())
    root = np.linalg.cholesky(covariance)
    components = Mixture(
        components.log_share,
        np.linalg.solve(root, (components.centre - mean).T).T,
        np.linalg.solve(root, components.spread),
    )
    factor = np.asarray(prior.factor, np.float64)
    return Population(
        prior.mean + jnp.asarray(factor @ mean, jnp.float32),
        jnp.asarray(factor @ root, jnp.float32),
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), components),
    )


def _start_simplex(
    prefs: Preferences, config: FitConfig, choice: Choice, key: jax.Array, devices: Devices
) -> tuple[Any, ...]:
    rank, settings = int(choice["rank"]), config.simplex
    module, hyper = make_basis(config, rank), simplex_hyper(choice, rank, prefs.head)
    has_pairs = prefs.weight_per_user() > 0
    if settings.num_minibatches > 1:
        data = PlacedMinibatches(prefs, settings.input_scale, devices, settings.num_minibatches)
        layout, first_data = data.layout, next(data.in_turn([0]))
    else:
        data, layout = place(prefs, settings.input_scale, devices)
        first_data = data
    key_basis, key_logits = jax.random.split(key)
    params = module.init(key_basis, jnp.zeros((1, prefs.dim)), settings.input_scale)["params"]
    logits = layout.spread(simplex.draw_logits(settings, prefs.num_users, rank, key=key_logits))

    def begin(state: Any, data: FitData, hyper: simplex.SimplexHyper) -> simplex.SimplexState:
        params, logits = state
        return simplex.init(settings, params, logits, data)

    def finish(state: simplex.SimplexState) -> tuple[Model, Posterior]:
        found = simplex.finish(state, layout, has_pairs, hyper, config=settings)
        kept = len(found.columns)
        prior = Population(jnp.asarray(found.mean), jnp.zeros((kept, 0)))
        model = Model(
            make_basis(config, kept),
            jax.tree.map(jnp.asarray, found.params),
            jnp.float32(settings.input_scale),
            prior,
            "simplex",
            settings.temperature,
        )
        users = population_posterior(model, prefs.num_users, prefs.user_ids)
        return model, dataclasses.replace(
            users, weights=found.weights, shots=prefs.pairs_per_user().astype(np.int32)
        )

    first = (shard_copies(params, devices), jax.tree.map(lambda leaf: split(leaf, devices), logits))
    state = over_shards(begin)(first, first_data, hyper)
    step = (simplex.step, module, settings)
    return step, finish, settings.steps, state, data, hyper
