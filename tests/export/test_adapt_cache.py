"""Adapting to a cache's users part by part: the same as all at once."""

import jax.numpy as jnp
import numpy as np
import pytest

from lore_jax.export import adapt_cache as module
from lore_jax.export.adapt_cache import adapt_cache
from lore_jax.model.basis import LinearBasis
from lore_jax.model.model import Model, response_keys
from lore_jax.model.posterior import POSTERIOR_ARRAYS, join
from lore_jax.model.prior import GaussianPrior, ItemEffects, SimplexPrior
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.cache.writer import CacheWriter
from lore_jax.users.adapt import adapt

DIM, RANK, USERS, RESPONSES = 6, 3, 13, 40
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((RESPONSES, DIM)).astype(np.float32)


def write(path, *, sort=False, names=True, users=USERS):
    rng = np.random.default_rng(1)
    user = rng.choice(np.arange(1, USERS - 1), size=60)  # the first and the last have no pairs
    user = np.sort(user) if sort else user
    chosen = rng.integers(RESPONSES, size=60)
    rejected = (chosen + rng.integers(1, RESPONSES, size=60)) % RESPONSES
    user_ids = [f'user "{i}", böb' for i in range(users)] if names else None
    with CacheWriter(path, dim=DIM, dtype="float32", shard_bytes=7 * DIM * 4) as writer:
        writer.append(TABLE)
        weight = rng.uniform(0.5, 2.0, 60)
        writer.finish(
            chosen=chosen,
            rejected=rejected,
            user=user,
            pair_weight=weight,
            user_ids=user_ids,
            num_users=users,
        )
    return path


MEAN = jnp.full(RANK, 1.0 / RANK)
PRIORS = {"gaussian": GaussianPrior(MEAN, jnp.eye(RANK)), "simplex": SimplexPrior(MEAN)}


def make_model(prior):
    params = {"V": jnp.asarray(RNG.standard_normal((DIM, RANK)), jnp.float32)}
    values = jnp.asarray(RNG.standard_normal((5, RANK)), jnp.float32)
    effects = ItemEffects(
        jnp.asarray(response_keys(TABLE[3:8])), values, jnp.ones(RANK), jnp.zeros((5, 2))
    )
    scale = jnp.float32(2.0)
    return Model(LinearBasis(RANK), params, scale, PRIORS[prior], item_effects=effects)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("sort", [True, False])
def test_equals_all_at_once(prior, sort, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TABLE_BYTES", 9 * DIM * 4)  # parts that cross shards
    monkeypatch.setattr(module, "_PAIRS_AT_A_TIME", 7)
    model, path = make_model(prior), write(tmp_path / "cache", sort=sort)
    parts = list(adapt_cache(model, path, users_at_a_time=4))
    assert [part.num_users for part in parts] == [4, 4, 4, 1]
    posterior, expected = join(parts), adapt(model, load_cache(path))
    assert posterior.user_ids.tolist() == expected.user_ids.tolist()
    for name in POSTERIOR_ARRAYS:
        np.testing.assert_allclose(getattr(posterior, name), getattr(expected, name), atol=2e-5)


def test_users_without_names(tmp_path):
    path = write(tmp_path / "cache", names=False)
    parts = list(adapt_cache(make_model("gaussian"), path))
    assert len(parts) == 1
    assert join(parts).user_ids is None
    assert join(parts).num_users == USERS


def test_corruption_is_found_before_the_first_user(tmp_path):
    path = write(tmp_path / "cache")
    shard = path / "embeddings-00003.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"embeddings-00003.safetensors is corrupt"):
        next(adapt_cache(make_model("gaussian"), path))
    with pytest.raises(ValueError, match="users_at_a_time is 0"):
        next(adapt_cache(make_model("gaussian"), path, users_at_a_time=0))
