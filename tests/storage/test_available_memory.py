"""What may still be taken: the smallest of what the system and the limits leave."""

from lore_jax.storage import available_memory as module
from lore_jax.storage.available_memory import available_memory


def test_the_smallest_limit_counts(tmp_path, monkeypatch):
    files = {}
    for name, text in (
        ("_MEMINFO", "MemFree: 1 kB\nMemAvailable:   9000 kB\n"),
        ("_STATUS", "VmPeak: 1 kB\nVmData:\t 1000 kB\n"),
        ("_LIMITS", "Max data size  unlimited  unlimited  bytes\n"),
        ("limit", "max\n"),
        ("used", "1024000\n"),
    ):
        files[name] = tmp_path / name
        files[name].write_text(text)
    monkeypatch.setattr(module, "_MEMINFO", files["_MEMINFO"])
    monkeypatch.setattr(module, "_STATUS", files["_STATUS"])
    monkeypatch.setattr(module, "_LIMITS", files["_LIMITS"])
    monkeypatch.setattr(module, "_GROUPS", ((files["limit"], files["used"]),))
    assert available_memory() == 9000 * 1024
    files["_LIMITS"].write_text(f"Max data size  {6000 * 1024}  unlimited  bytes\n")
    assert available_memory() == 5000 * 1024
    files["limit"].write_text("4096000\n")
    assert available_memory() == 3072000
    files["limit"].write_text("10\n")
    assert available_memory() == 0


def test_a_system_that_does_not_say(tmp_path, monkeypatch):
    for name in ("_MEMINFO", "_STATUS"):
        monkeypatch.setattr(module, name, tmp_path / "nowhere")
    monkeypatch.setattr(module, "_GROUPS", ())
    assert available_memory() == float("inf")
