"""What EM has learned as a model: basis, prior of the users, item effects, what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lore_jax.methods.gaussian.laplace_em import PopulationHyper, ridges
from lore_jax.model.basis import Params, make_basis, rescaled
from lore_jax.model.basis_posterior import BasisPosterior, by_column
from lore_jax.model.model import Model, response_keys
from lore_jax.model.prior import GaussianPrior, ItemEffects

if TYPE_CHECKING:
    from lore_jax.methods.gaussian.method import PopulationConfig


def fitted_model(
    method: PopulationConfig,
    params: Params,
    hyper: PopulationHyper,
    *,
    input_scale: Float[Array, ""],
    logit_scale: float,
    posterior: BasisPosterior | None,
    share: Float[Array, "2 rows"],
    embeddings: Any,
    judged: Bool[np.ndarray, " responses"],
) -> Model:
    """All rewards times the logit scale, users as `population_prior` says.

    A response that nobody judged is as unknown as one that the table does not have, so those that
    were judged alone have effects.

    Args:
        method: says hidden layers and likelihood.
        params: basis and item effects, from `laplace_em`.
        hyper: what was chosen.
        input_scale: what the basis divides embeddings by.
        logit_scale: what the fitted rewards are multiplied by.
        posterior: of the basis, before scaling; None: it is taken as it is.
        share: of the rewards of each row of the table, filled up or not, what depends on that.
        embeddings: the table of the fit, `[responses, dim]`: responses are known by their rows.
        judged: which of them somebody judged.

    Returns:
        The model.
    """
    rank, effects = len(hyper.columns) + 1, None
    if np.any(np.asarray(hyper.item_effects) > 0):
        rows, sizes = np.flatnonzero(judged), by_column(hyper.item_effects, rank)
        variance = 0.5 * logit_scale**2 * hyper.item_effects**2 / ridges(hyper)
        effects = ItemEffects(
            jnp.asarray(response_keys(embeddings)[rows]),
            logit_scale * (sizes[None] * params["item_effects"])[rows],
            by_column(variance, rank),
            share.T[rows],
        )
    if posterior is not None:
        factor, rest = logit_scale * posterior.factor, logit_scale**2 * posterior.rest
        posterior = BasisPosterior(posterior.axes, factor, rest)
    return Model(
        make_basis(rank, method.hidden),
        rescaled(params["basis"], logit_scale),
        input_scale,
        population_prior(rank),
        item_effects=effects,
        likelihood=method.likelihood,
        basis_posterior=posterior,
    )


def population_prior(rank: int) -> GaussianPrior:
    """Weight 1 on column 0 for everybody, N(0, I) on the others, which carry their scale."""
    return GaussianPrior(jnp.eye(rank)[0], jnp.eye(rank)[:, 1:])
