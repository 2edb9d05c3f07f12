import json

import ml_dtypes
import numpy as np
import pytest
from lora_adapters import PREFIX, matrices, write_adapter

from lore_jax.steering.adapters import read_adapter, refuse_unlike

Q = f"{PREFIX}layers.0.q"


def test_an_adapter_is_read(tmp_path):
    tensors = matrices(0, dtype=ml_dtypes.bfloat16)
    adapter = read_adapter(write_adapter(tmp_path / "one", tensors))
    assert adapter.rank == 2
    assert adapter.scale == 2.0
    assert adapter.modules == (f"{PREFIX}layers.0.k", Q)
    assert adapter.shapes == ((4, 8), (6, 8))
    assert adapter.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(adapter.a[1], tensors[f"{Q}.lora_A.weight"])
    np.testing.assert_array_equal(adapter.b[1], tensors[f"{Q}.lora_B.weight"])
    stable = read_adapter(write_adapter(tmp_path / "two", tensors, use_rslora=True))
    assert stable.scale == pytest.approx(4 / 2**0.5)


def with_nan(tensors):
    tensors[f"{Q}.lora_B.weight"][1, 1] = np.nan


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (with_nan, {}, "layers.0.q.lora_B.weight' holds numbers that are not finite"),
        (lambda t: t.pop(f"{Q}.lora_A.weight"), {}, "lacks 'base_model.model.layers.0.q.lora_A"),
        (lambda t: t.clear(), {}, "holds no matrices"),
        (lambda t: t.update({"x": np.zeros(2)}), {}, "holds 'x': NAME.lora_A.weight or"),
        (None, {"rank": 3}, r"has shape \[2, 8\], the rank is 3"),
        (
            lambda t: t.update({f"{Q}.lora_B.weight": np.zeros((6, 2), np.float16)}),
            {},
            "has type float16: one of",
        ),
        (None, {"peft_type": "IA3"}, "peft_type is 'IA3': 'LORA' is expected"),
        (None, {"use_dora": True}, "use_dora is True: plain LoRA"),
        (None, {"rank_pattern": {"q": 4}}, "rank_pattern is {'q': 4}"),
        (None, {"bias": "all"}, "bias is 'all'"),
        (None, {"alpha": None}, "lora_alpha is None: a number"),
        (None, {"rank": 0}, "r is 0: an integer of 1 or more"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tmp_path, change, config, message):
    tensors = matrices(0)
    if change is not None:
        change(tensors)
    with pytest.raises(ValueError, match=message):
        read_adapter(write_adapter(tmp_path / "one", tensors, **config))


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json is missing"):
        read_adapter(tmp_path)
    folder = write_adapter(tmp_path / "one", matrices(0))
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match="peft_type is 'no object'"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4})
    )
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.safetensors is missing"):
        read_adapter(folder)


OTHER_SHAPES = {"layers.0.q": (6, 8), "layers.0.v": (4, 8)}
WIDER = {"layers.0.q": (6, 8), "layers.0.k": (5, 8)}


@pytest.mark.parametrize(
    ("tensors", "config", "same_rank", "message"),
    [
        (matrices(1), {"base_model_name_or_path": "big"}, False, "has base model 'big', .* 'tiny'"),
        (matrices(1, rank=3), {"rank": 3}, True, "has rank 3, .* has 2"),
        (matrices(1), {"alpha": 8}, True, "has alpha 8, .* has 4"),
        (matrices(1), {"use_rslora": True}, True, "has scale 2.8"),
        (matrices(1, shapes=OTHER_SHAPES), {}, False, "does not change .*layers.0.k'"),
        (matrices(1, shapes=WIDER), {}, False, r"layers.0.k' is \[5, 8\], .* has \[4, 8\]"),
        (matrices(1, dtype=np.float16), {}, False, "has number type 'float16'"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(tmp_path, tensors, config, same_rank, message):
    one = read_adapter(write_adapter(tmp_path / "one", matrices(0)))
    two = read_adapter(write_adapter(tmp_path / "two", tensors, **config))
    with pytest.raises(ValueError, match=message):
        refuse_unlike([one, two], same_rank=same_rank)
    if same_rank:
        refuse_unlike([one, two], same_rank=False)
    refuse_unlike([one, one], same_rank=True)
    with pytest.raises(ValueError, match="there are 0 adapters"):
        refuse_unlike([], same_rank=False)
