"""`lore-jax inspect`: its status says whether something is corrupt."""

import json

from command_line import PREPARE, run


def test_inspect_finds_damage_and_says_so_with_its_status(here, capsys):
    run(
        capsys,
        *PREPARE,
        "--out",
        "cache",
    )
    assert "no corruption found" in run(capsys, "inspect", "cache")
    data = bytearray((here / "cache" / "pairs.safetensors").read_bytes())
    data[-1] ^= 1
    (here / "cache" / "pairs.safetensors").write_bytes(data)
    assert "  corrupt: cache/pairs.safetensors is corrupt" in run(
        capsys, "inspect", "cache", status=1
    )
    assert json.loads(run(capsys, "inspect", "cache", "--json", status=1))["corrupt"]
    assert "no corruption found" in run(capsys, "inspect", "cache", "--verify", "quick")
