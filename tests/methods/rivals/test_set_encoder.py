"""The divergence of Gaussians; what is read does not depend on order, nor on pairs of weight 0."""

import jax
import jax.numpy as jnp
import numpy as np

from lore_jax.methods.rivals.set_encoder import SetEncoder, UserGaussian, kl_from_prior


def test_the_divergence_of_two_gaussians():
    user = UserGaussian(jnp.array([1.0, 0.0]), jnp.log(jnp.array([1.0, 4.0])))
    np.testing.assert_allclose(kl_from_prior(user), 0.5 + 0.5 * (4 - 1 - np.log(4)), rtol=1e-6)


def test_it_reads_a_set():
    rng = np.random.default_rng(0)
    rows, weight = rng.normal(size=(5, 4)).astype(np.float32), np.float32([1, 2, 0.5, 1, 0])
    encoder = SetEncoder(latent=2)
    params = encoder.init(jax.random.key(0), rows, weight)
    whole = encoder.apply(params, rows, weight)
    assert np.abs(whole.mean).max() > 1e-3
    order = rng.permutation(5)
    for part in (order, slice(4)):  # the last pair weighs nothing
        again = encoder.apply(params, rows[part], weight[part])
        for one, other in zip(whole, again, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    twice = encoder.apply(
        params, np.append(rows, rows[1:2], axis=0), np.float32([1, 1, 0.5, 1, 0, 1])
    )
    np.testing.assert_allclose(twice.mean, whole.mean, atol=1e-5)  # a weight counts pairs
