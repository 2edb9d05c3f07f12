import ml_dtypes
import numpy as np
import pytest
from lora_adapters import deltas, matrices, write_adapter

from lore_jax.steering.adapters import read_adapter
from lore_jax.steering.merge import make_merger
from lore_jax.steering.mixing_weights import MergeConfig

WEIGHTS = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [-0.4, 1.5, 0.1]], np.float32)
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return [read_adapter(write_adapter(root / str(s), matrices(s))) for s in SEEDS]


def tensors_of(merger, row):
    """A row of merged data cut into matrices by their names."""
    found, at = {}, 0
    for name, shape in merger.tensors.items():
        size = int(np.prod(shape))
        found[name], at = row[at : at + size].reshape(shape), at + size
    assert at == len(row)
    return found


def merged(adapters, config, weights=WEIGHTS, **more):
    """Tensors and error of every user."""
    merger = make_merger(adapters, config)
    parts = [
        (tensors_of(merger, np.concatenate([part.same, row])), error)
        for part in merger.merge(weights, **more)
        for row, error in zip(part.rows, part.error, strict=True)
    ]
    return merger, parts


def weighted_sum(weights, scale=2.0):
    each = [deltas(matrices(seed), scale) for seed in SEEDS]
    return {
        module: sum(w * own[module] for w, own in zip(weights, each, strict=True))
        for module in each[0]
    }


def scale_of(merger):
    return merger.config["lora_alpha"] / merger.config["r"]


@pytest.mark.parametrize(
    "config", [MergeConfig("cat"), MergeConfig("svd", rank=6)], ids=["cat", "svd"]
)
@pytest.mark.parametrize("at_a_time", [2, None])
def test_cat_and_untruncated_svd_are_the_weighted_sum(adapters, config, at_a_time):
    merger, users = merged(adapters, config, users_at_a_time=at_a_time)
    assert merger.config["r"] == merger.config["lora_alpha"] == 6
    assert len(users) == len(WEIGHTS)
    for weights, (tensors, error) in zip(WEIGHTS, users, strict=True):
        expected = weighted_sum(weights)
        for module, delta in deltas(tensors, 1.0).items():
            np.testing.assert_allclose(delta, expected[module], atol=1e-5)
        assert error < 1e-3  # squares of what rounding leaves


def test_linear_averages_both_sides_by_themselves(adapters):
    merger, users = merged(adapters, MergeConfig("linear"))
    assert (merger.config["r"], merger.config["lora_alpha"]) == (2, 4)
    for weights, (tensors, error) in zip(WEIGHTS, users, strict=True):
        for name, tensor in tensors.items():
            own = sum(w * matrices(s)[name] for w, s in zip(weights, SEEDS, strict=True))
            np.testing.assert_allclose(tensor, own, atol=1e-6)
        exact, made = weighted_sum(weights), deltas(tensors, scale_of(merger))
        missed = sum(((made[module] - exact[module]) ** 2).sum() for module in exact)
        total = sum((exact[module] ** 2).sum() for module in exact)
        assert error == pytest.approx(np.sqrt(missed / total), rel=1e-4, abs=1e-5)
    assert users[1][1] == pytest.approx(0.0, abs=1e-5)  # one adapter alone is itself
    assert users[0][1] > 0.1  # and several are not the sum of what they change


def test_truncated_svd_is_the_best_of_its_rank(adapters):
    merger, users = merged(adapters, MergeConfig("svd", rank=3))
    for weights, (tensors, error) in zip(WEIGHTS, users, strict=True):
        missed = total = 0.0
        for module, exact in weighted_sum(weights).items():
            values = np.linalg.svd(exact, compute_uv=False)
            made = deltas(tensors, scale_of(merger))[module]
            residual = ((made - exact) ** 2).sum()
            assert residual == pytest.approx((values[3:] ** 2).sum(), rel=1e-3, abs=1e-6)
            missed, total = missed + residual, total + (values**2).sum()
        assert error == pytest.approx(np.sqrt(missed / total), rel=1e-3, abs=1e-4)


def test_ranks_and_scales_may_differ_where_deltas_are_added(tmp_path):
    one = write_adapter(tmp_path / "one", matrices(0))
    two = write_adapter(tmp_path / "two", matrices(1, rank=3), rank=3, alpha=3)
    adapters = [read_adapter(folder) for folder in (one, two)]
    for config in (MergeConfig("cat"), MergeConfig("svd", rank=5)):
        _, ((tensors, _),) = merged(adapters, config, np.array([[0.25, 0.75]]))
        parts = deltas(matrices(0), 2.0), deltas(matrices(1, rank=3), 1.0)
        for module, delta in deltas(tensors, 1.0).items():
            expected = 0.25 * parts[0][module] + 0.75 * parts[1][module]
            np.testing.assert_allclose(delta, expected, atol=1e-5)
    with pytest.raises(ValueError, match="has rank 3"):
        make_merger(adapters, MergeConfig("linear"))


def test_a_narrow_type_is_summed_in_float32(tmp_path):
    tensors = [matrices(s, dtype=ml_dtypes.bfloat16) for s in SEEDS]
    adapters = [
        read_adapter(write_adapter(tmp_path / str(n), own)) for n, own in enumerate(tensors)
    ]
    _, ((made, _), *_) = merged(adapters, MergeConfig("linear"))
    for name, tensor in made.items():
        wide = sum(w * t[name].astype(np.float32) for w, t in zip(WEIGHTS[0], tensors, strict=True))
        assert tensor.dtype == ml_dtypes.bfloat16
        # Half a unit in the last of 8 bits, and what a sum in another order changes of it.
        np.testing.assert_allclose(tensor.astype(np.float32), wide, rtol=2**-8)


def test_a_rank_above_the_sum_is_refused(adapters):
    with pytest.raises(ValueError, match="rank is 7: at most 6"):
        make_merger(adapters, MergeConfig("svd", rank=7))
