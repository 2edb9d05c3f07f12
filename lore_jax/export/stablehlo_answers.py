"""Adapting to answers of one kind, ties, ratings or rankings, as a StableHLO program."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lore_jax.data.answer_kinds import Kind
from lore_jax.export.stablehlo import PLATFORMS, write_program
from lore_jax.model.answer_model import AnswerModel, num_entries
from lore_jax.model.basis import input_width
from lore_jax.model.model import Model, apply_basis
from lore_jax.model.posterior import POSTERIOR_ARRAYS
from lore_jax.users.answer_solver import AnswerSolver, solve_entries
from lore_jax.users.answering import check_scales
from lore_jax.users.entries import rows_of_entries

_BEHIND = -1  # the row of zeros, the last one of the solver's table


def export_adapt_answers(
    path: str | os.PathLike[str],
    model: Model,
    answers: AnswerModel,
    kind: Kind,
    *,
    count: int,
    platforms: Sequence[str] = PLATFORMS,
    overwrite: bool = False,
) -> Path:
    """Writes adapting to answers of a kind as a StableHLO program, which runs without this library.

    `(embeddings [responses, dim] float32, items [users, count, items] int32, outcome [users, count]
    int32, weight [users, count] float32) -> {"weights" [users, rank], "covariance" [users, rank,
    rank], "shots", "converged", "steps", "grad_norm" [users]}`, for any number of users and
    responses; of ratings also "intercept" and "intercept_variance" `[users]` and
    "intercept_covariance" `[users, rank]`. An answer whose weight is 0 is padding. Model and cut
    points are part of the program, without item effects: responses count as new.

    Args:
        path: the file to make.
        model: a fitted model.
        answers: how people answer.
        kind: what they say.
        count: the number of answers a user, padding included.
        platforms: where it shall run: "cpu", "cuda", "rocm", "tpu".
        overwrite: replace a file that is there.

    Returns:
        The file.

    Raises:
        FileExistsError: the file is there already.
        ValueError: `count` is not positive, the scale is not one of `answers`, or users rate and
            the prior is not Gaussian.
        OSError: the disk refused; nothing is left behind.

    Example:
        >>> stars, how = Kind("rating", 1, levels=5), begin_answers(feedback)
        >>> path = export_adapt_answers("rated.stablehlo", model, how, stars, count=2)
        >>> program = jax.export.deserialize(bytearray(path.read_bytes()))
        >>> items, outcome = jnp.array([[[0], [1]]]), jnp.array([[4, 0]])
        >>> program.call(feedback.embeddings, items, outcome, jnp.ones((1, 2)))["intercept"].shape
        (1,)
    """
    if count < 1:
        raise ValueError(f"count is {count}: 1 or more is expected")
    check_scales(answers, [kind])
    rated = kind.name == "rating"

    def run(
        embeddings: Float[Array, "responses dim"],
        items: Int[Array, "users count items"],
        outcome: Int[Array, "users count"],
        weight: Float[Array, "users count"],
    ) -> dict[str, jax.Array]:
        table = apply_basis(model, embeddings)
        solver = AnswerSolver(model.prior, answers, table, with_intercept=rated)
        options = {"neighbours": solver.neighbours}
        first, second = rows_of_entries(kind, items, _BEHIND, **options)
        # [columns, entries, users], the entries of an answer next to each other.
        difference = solver.table[first] - solver.table[second]
        each = num_entries(kind, **options)
        features = jnp.transpose(difference, (3, 1, 2, 0)).reshape(-1, count * each, items.shape[0])
        entry_weight = jnp.repeat(weight.T, each, axis=0)
        said = (kind,), solver.neighbours, (outcome.T,), features, entry_weight
        found = solve_entries(solver.prior, answers, *said)
        rank, covariance = model.rank, jnp.asarray(found.covariance)
        out = {name: getattr(found, name) for name in POSTERIOR_ARRAYS}
        out["shots"] = jnp.sum(weight > 0, axis=1, dtype=jnp.int32)
        out["weights"], out["covariance"] = (
            found.weights[:, :rank],
            covariance[:, :rank, :rank],
        )
        if rated:
            out["intercept"] = found.weights[:, rank]
            out["intercept_variance"] = covariance[:, rank, rank]
            out["intercept_covariance"] = covariance[:, rank, :rank]
        return out

    responses, users = jax.export.symbolic_shape("responses, users")
    embeddings = jax.ShapeDtypeStruct((responses, input_width(model.params)), jnp.float32)
    items = jax.ShapeDtypeStruct((users, count, kind.num_items), jnp.int32)
    outcome = jax.ShapeDtypeStruct((users, count), jnp.int32)
    weight = jax.ShapeDtypeStruct((users, count), jnp.float32)
    return write_program(path, run, (embeddings, items, outcome, weight), platforms, overwrite)
