import json
import warnings

import numpy as np
import pytest
from lora_adapters import deltas, matrices, write_adapter

from lore_jax.steering.adapters import read_adapter
from lore_jax.steering.merge import make_merger
from lore_jax.steering.merged_folder import write_merged
from lore_jax.steering.mixing_weights import MergeConfig

WEIGHTS = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
NAMES = ["polis/7", ".."]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return [read_adapter(write_adapter(root / str(s), matrices(s))) for s in (0, 1)]


def test_everybody_gets_a_folder(tmp_path, adapters):
    report = write_merged(tmp_path / "out", make_merger(adapters), WEIGHTS, NAMES)
    lines = list(map(json.loads, (tmp_path / "out" / "users.jsonl").read_text().splitlines()))
    assert [line["user_id"] for line in lines] == NAMES
    assert report.users == 2
    assert report.error == (0.0, 0.0)
    for line, weights in zip(lines, WEIGHTS, strict=True):
        merged = read_adapter(tmp_path / "out" / line["folder"])
        assert line["weights"] == weights.tolist()
        assert merged.scale == 1.0
        parts = [deltas(matrices(seed), 2.0) for seed in (0, 1)]
        for module, a, b in zip(merged.modules, merged.a, merged.b, strict=True):
            expected = sum(w * part[module] for w, part in zip(weights, parts, strict=True))
            np.testing.assert_allclose(b @ a, expected, atol=1e-5)


def test_nothing_is_left_of_what_fails(tmp_path, adapters, monkeypatch):
    merger = make_merger(adapters)
    for names, message in ((["ann", "ann"], "user 'ann' is there twice"), (["a"] * 2, "twice")):
        with pytest.raises(ValueError, match=message):
            write_merged(tmp_path / "out", merger, WEIGHTS, names)
    with pytest.raises(ValueError, match="there are 0 users"):
        write_merged(tmp_path / "out", merger, WEIGHTS[:0])

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lore_jax.steering.merged_folder._write", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_merged(tmp_path / "out", merger, WEIGHTS)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="is there already"):
        write_merged(tmp_path / "out", merger, WEIGHTS)


def import_peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own imports
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        return torch, pytest.importorskip("peft", reason="PEFT is not installed")


@pytest.mark.filterwarnings("ignore")
def test_peft_loads_what_is_written_and_the_forward_pass_agrees(tmp_path):
    torch, peft = import_peft()

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = torch.nn.Linear(8, 6), torch.nn.Linear(8, 4)

        def forward(self, x):
            return torch.cat([self.q(x), self.k(x)], dim=-1)

    torch.manual_seed(0)
    base, folders = Block(), []
    state = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    for seed in (0, 1):
        config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q", "k"])
        model = peft.get_peft_model(Block(), config)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter)
        model.save_pretrained(tmp_path / str(seed))
        folders.append(tmp_path / str(seed))
    adapters, x = [read_adapter(folder) for folder in folders], torch.randn(5, 8)

    def output(folder):
        fresh = Block()
        fresh.load_state_dict(state)
        with torch.no_grad():
            model = peft.PeftModel.from_pretrained(fresh, folder)
            return model(x).numpy()

    with torch.no_grad():
        plain = base(x).numpy()
    parts = [output(folder) - plain for folder in folders]
    for number, config in enumerate(
        [MergeConfig("cat"), MergeConfig("svd", rank=4), MergeConfig("linear")]
    ):
        out = tmp_path / f"out{number}"
        report = write_merged(out, make_merger(adapters, config), WEIGHTS, ["ann", "bob"])
        wanted = 0.25 * parts[0] + 0.75 * parts[1]
        got = output(out / "ann") - plain
        if config.method == "linear":
            assert report.error[1] > 0.1
            wanted = np.zeros_like(got)
            for module, columns in (("q", slice(6)), ("k", slice(6, 10))):
                at = adapters[0].modules.index(f"base_model.model.{module}")
                a, b = (
                    0.25 * getattr(adapters[0], side)[at] + 0.75 * getattr(adapters[1], side)[at]
                    for side in "ab"
                )
                wanted[:, columns] = 2.0 * x.numpy() @ a.T @ b.T
        np.testing.assert_allclose(got, wanted, atol=1e-4)
        np.testing.assert_allclose(output(out / "bob") - plain, parts[0], atol=1e-4)
