"""Adapting, scoring and predicting as StableHLO programs, for other software."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lore_jax.model.basis import input_width
from lore_jax.model.model import Model, apply_basis, rewards_as_new
from lore_jax.model.posterior import POSTERIOR_ARRAYS
from lore_jax.storage.files import refuse_existing, write_file
from lore_jax.users.adapt import adapt_user
from lore_jax.users.predict import moments_of_margins

PLATFORMS = ("cpu", "cuda", "tpu")


def export_adapt(
    path: str | os.PathLike[str],
    model: Model,
    *,
    shots: int,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
) -> Path:
    """Writes adapting as a StableHLO program, which runs wherever JAX does, without this library.

    `(embeddings [responses, dim] float32, chosen [users, shots] int32, rejected [users, shots]
    int32, pair_weight [users, shots] float32) -> {"weights" [users, rank], "covariance" [users,
    rank, rank], "shots", "converged", "steps", "grad_norm" [users]}`, for any number of users and
    responses; a pair whose `pair_weight` is 0 is padding. The model is part of the program, without
    its item effects: responses count as new.

    Args:
        path: the file to make.
        model: a fitted model.
        shots: the number of pairs a user, padding included.
        platforms: where it shall run: "cpu", "cuda", "rocm", "tpu".
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        ValueError: `shots` is not positive.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> path = export_adapt("adapt.stablehlo", model, shots=2)
        >>> program = jax.export.deserialize(bytearray(path.read_bytes()))
        >>> chosen, rejected = jnp.array([[0, 1]]), jnp.array([[2, 2]])
        >>> users = program.call(prefs.embeddings, chosen, rejected, jnp.ones((1, 2)))
        >>> users["weights"].shape
        (1, 3)
    """
    if shots < 1:
        raise ValueError(f"shots is {shots}: 1 or more is expected")

    def run(
        embeddings: Float[Array, "responses dim"],
        chosen: Int[Array, "users shots"],
        rejected: Int[Array, "users shots"],
        pair_weight: Float[Array, "users shots"],
    ) -> dict[str, jax.Array]:
        table = apply_basis(model, embeddings)
        features = jnp.moveaxis(table[chosen] - table[rejected], 0, -1)
        posterior = adapt_user(model, features, pair_weight.T)
        return {name: jnp.moveaxis(getattr(posterior, name), -1, 0) for name in POSTERIOR_ARRAYS}

    responses, users = jax.export.symbolic_shape("responses, users")
    index = jax.ShapeDtypeStruct((users, shots), jnp.int32)
    pair_weight = jax.ShapeDtypeStruct((users, shots), jnp.float32)
    embeddings = jax.ShapeDtypeStruct((responses, input_width(model.params)), jnp.float32)
    return write_program(path, run, (embeddings, index, index, pair_weight), platforms, overwrite)


def export_score(
    path: str | os.PathLike[str],
    model: Model,
    *,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
) -> Path:
    """Writes scoring as a StableHLO program, which runs wherever JAX does, without this library.

    `(embeddings [candidates, dim] float32, weights [users, rank] float32) -> scores [users,
    candidates]`, in logits, for any number of users and candidates. The model is part of the
    program, without its item effects.

    Args:
        path: the file to make.
        model: a fitted model.
        platforms: where it shall run.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> path = export_score("score.stablehlo", model)
        >>> program = jax.export.deserialize(bytearray(path.read_bytes()))
        >>> program.call(prefs.embeddings, posterior.weights).shape
        (12, 150)
    """

    def run(
        embeddings: Float[Array, "candidates dim"], weights: Float[Array, "users rank"]
    ) -> Float[Array, "users candidates"]:
        return weights @ apply_basis(model, embeddings).T

    candidates, users = jax.export.symbolic_shape("candidates, users")
    embeddings = jax.ShapeDtypeStruct((candidates, input_width(model.params)), jnp.float32)
    weights = jax.ShapeDtypeStruct((users, model.rank), jnp.float32)
    return write_program(path, run, (embeddings, weights), platforms, overwrite)


def export_margins(
    path: str | os.PathLike[str],
    model: Model,
    *,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
) -> Path:
    """Writes predicting pairs, with what is not known, as a StableHLO program.

    `(embeddings [responses, dim] float32, chosen [pairs] int32, rejected [pairs] int32, user
    [pairs] int32, weights [users, rank] float32, covariance [users, rank, rank] float32) -> {"mean"
    [pairs], "variance" [pairs]}` of each pair's margin, in logits: what `margins` gives for
    responses that the fit has not seen. The uncertainty of the weights, of the basis and of the
    responses is in the variance. The model is part of the program.

    Args:
        path: the file to make.
        model: a fitted model.
        platforms: where it shall run.
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> path = export_margins("margins.stablehlo", model)
        >>> program = jax.export.deserialize(bytearray(path.read_bytes()))
        >>> chosen, rejected, user = jnp.array([0, 1]), jnp.array([2, 3]), jnp.array([5, 5])
        >>> pairs = prefs.embeddings, chosen, rejected, user
        >>> program.call(*pairs, posterior.weights, posterior.covariance)["variance"].shape
        (2,)
    """

    def run(
        embeddings: Float[Array, "responses dim"],
        chosen: Int[Array, " pairs"],
        rejected: Int[Array, " pairs"],
        user: Int[Array, " pairs"],
        weights: Float[Array, "users rank"],
        covariance: Float[Array, "users rank rank"],
    ) -> dict[str, jax.Array]:
        table = rewards_as_new(model, embeddings)
        mean, variance = moments_of_margins(table, chosen, rejected, user, weights, covariance)
        return {"mean": mean, "variance": variance}

    responses, pairs, users = jax.export.symbolic_shape("responses, pairs, users")
    index, rank = jax.ShapeDtypeStruct((pairs,), jnp.int32), model.rank
    shapes = (responses, input_width(model.params)), (users, rank), (users, rank, rank)
    embeddings, weights, covariance = (jax.ShapeDtypeStruct(each, jnp.float32) for each in shapes)
    given = embeddings, index, index, index, weights, covariance
    return write_program(path, run, given, platforms, overwrite)


def write_program(
    path: str | os.PathLike[str],
    run: Callable[..., jax.Array | dict[str, jax.Array]],
    shapes: Sequence[jax.ShapeDtypeStruct],
    platforms: Sequence[str],
    overwrite: bool,
) -> Path:
    """A function of arrays of these shapes as a program on disk."""
    path = Path(path)
    refuse_existing(path, overwrite)
    program = jax.export.export(jax.jit(run), platforms=tuple(platforms))(*shapes)
    write_file(path, [bytes(program.serialize())])
    return path
