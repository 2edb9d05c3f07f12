"""Checkpoints are read on any devices, flipped bits are found, a killed save loses one step."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lore_jax.storage.checkpoint.store import AllCorruptError, CheckpointStore
from lore_jax.storage.files import with_checksum

EXTRA = {"loss": 0.25, "names": ["ann", "böb"], "nested": {"none": None}}


def make_state(seed=0):
    rng = np.random.default_rng(seed)
    params = {
        "V": jnp.asarray(rng.normal(size=(64, 5)), jnp.float32),
        "b": jnp.asarray(rng.normal(size=5), jnp.bfloat16),
    }
    return {
        "params": params,
        "opt": optax.adam(0.1).init(params),  # NamedTuples, a scalar count, an empty state
        "users": {"weights": rng.normal(size=(24, 5)), "converged": rng.random(24) < 0.5},
        "factor": np.zeros((1, 0), np.float32),  # Orbax refuses it
        "step": np.int64(2**40 + seed),
    }


def assert_same(got, expected):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert leaf.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(other))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    with CheckpointStore(folder, keep=3) as store:
        for step in (3, 7):
            store.save(step, make_state(step), {**EXTRA, "step": step})
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def restore(folder, target=None):
    with CheckpointStore(folder, read_only=True) as store:
        return store.restore(target)


def test_round_trip_with_a_target_and_without(saved):
    target = jax.tree.map(np.empty_like, make_state())
    step, state, extra = restore(saved, target)
    assert (step, extra) == (7, {**EXTRA, "step": 7})
    assert_same(state, make_state(7))
    by_name = restore(saved).state
    assert_same(by_name["params/V"], np.asarray(make_state(7)["params"]["V"]))
    assert by_name["opt/0/count"].shape == ()
    assert by_name["factor"].shape == (1, 0)
    assert len(by_name) == len(jax.tree.leaves(target))
    assert not list(saved.parent.glob("*.lock"))


def test_only_the_newest_are_kept_and_a_skipped_save_is_refused(tmp_path):
    with CheckpointStore(tmp_path / "new" / "checkpoints") as store:
        for step in (1, 2, 5):
            store.save(step, make_state(step))
        assert store.steps() == [2, 5]
        for step in (5, 4):
            with pytest.raises(ValueError, match=f"holds step 5 already: step {step} is not saved"):
                store.save(step, make_state(step))
        assert store.restore().step == 5
    with (
        CheckpointStore(tmp_path / "new" / "checkpoints") as store,
        pytest.raises(ValueError, match="step 5 already"),
    ):
        store.save(5, make_state())


def test_what_is_not_an_array_is_refused_and_nothing_is_written(tmp_path):
    cases = [
        ({"a": {"b": "text"}}, None, "a/b is a str: an array is expected"),
        ({"a": 3}, None, "a is a int: an array is expected"),
        ({"a": np.array([None])}, None, "a is a ndarray: an array is expected"),
        ({"key": jax.random.key(0)}, None, "key is a random key: its numbers, jax.random.key_data"),
        ({"a/b": np.ones(2), "a": {"b": np.ones(2)}}, None, "two leaves are called 'a/b'"),
        ({"a": np.zeros((3, 0))}, None, "there is nothing to save"),
        ({"a": np.ones(2)}, {"x": object()}, "only what JSON can hold"),
        ({"a": np.ones(2)}, {"x": float("nan")}, "JSON"),
    ]
    for state, extra, match in cases:
        with (
            pytest.raises(ValueError, match=match),
            CheckpointStore(tmp_path / "checkpoints") as store,
        ):
            store.save(0, state, extra)
        assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"), CheckpointStore(tmp_path / "file"):
        pass
    with (
        pytest.raises(FileNotFoundError, match="missing is not a folder"),
        CheckpointStore("missing", read_only=True),
    ):
        pass
    with pytest.raises(ValueError, match="keep is 0"):
        CheckpointStore(tmp_path, keep=0)
    with (
        CheckpointStore(tmp_path / "empty") as store,
        pytest.raises(FileNotFoundError, match="holds no checkpoint"),
    ):
        store.restore()


def test_another_model_is_named_leaf_by_leaf(saved):
    target = make_state()
    target["params"] = {
        "V": np.zeros((64, 8), np.float32),
        "b": np.zeros(5, np.float32),
        "c": np.zeros(2),
    }
    del target["users"]["converged"]
    with pytest.raises(ValueError, match="step 7 is not of this model") as error:
        restore(saved, target)
    line = str(error.value)
    assert "\n" not in line
    for part in (
        "params/V is float32 [64, 5], float32 [64, 8] is expected",
        "params/b is bfloat16 [5], float32 [5] is expected",
        "params/c is not in it",
        "users/converged bool [24] is not expected",
    ):
        assert part in line


def test_two_writers_one_folder(saved, copy):
    with CheckpointStore(copy):
        with (
            pytest.raises(BlockingIOError, match=f"held by process {os.getpid()}"),
            CheckpointStore(copy),
        ):
            pass
        assert restore(copy).step == 7  # readers need no lock


@pytest.mark.parametrize("seed", range(4))
def test_every_flipped_bit_is_found_and_the_last_good_step_read(copy, seed):
    """30 flips each: half of them weighted by size, half by file, so that small files are hit as
    well.
    """
    rng = random.Random(seed)
    files = sorted(file for file in (copy / "7").rglob("*") if file.is_file())
    expected = make_state(3)
    for number in range(30):
        sizes = [file.stat().st_size for file in files]
        (file,) = rng.choices(files, sizes if number % 2 else [size > 0 for size in sizes])
        data = file.read_bytes()
        bit = rng.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(flipped)
        with pytest.warns(RuntimeWarning, match="step 7 is corrupt, going back to step 3") as seen:
            step, state, extra = restore(copy, expected)
        assert len(seen) == 1
        assert "\n" not in str(seen[0].message)
        assert (step, extra["step"]) == (3, 3)
        assert_same(state, expected)
        file.write_bytes(data)
    assert restore(copy).step == 7


@pytest.mark.parametrize(
    "what", ["manifest/metadata", "arrays/_METADATA", "arrays/manifest.ocdbt", "files.json"]
)
def test_truncated_and_missing_files_are_found(copy, what):
    file = copy / "7" / what
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.warns(RuntimeWarning, match="step 7 is corrupt"):
        assert restore(copy).step == 3
    if (
        what != "files.json"
    ):  # a step whose writer was killed before the list was written is whole without it
        file.unlink()
        with pytest.warns(RuntimeWarning, match=f"{what} is missing"):
            assert restore(copy).step == 3


@pytest.mark.filterwarnings("ignore")
def test_without_the_list_of_files_the_leaves_and_the_manifest_are_checked(copy):
    shutil.move(copy / "7" / "files.json", copy.parent)
    assert_same(restore(copy, make_state()).state, make_state(7))
    # What Orbax itself would read without a complaint: other numbers in the manifest, other arrays
    # beside it.
    manifest = copy / "7" / "manifest" / "metadata"
    original = manifest.read_text()
    manifest.write_text(original.replace("0.25", "0.75"))
    assert restore(copy).step == 3
    manifest.write_text(json.dumps(json.loads(original), indent=7))  # the same content: no harm
    assert restore(copy).step == 7
    with CheckpointStore(copy.parent / "other") as store:
        store.save(7, make_state(8))
    shutil.rmtree(copy / "7" / "arrays")
    shutil.copytree(copy.parent / "other" / "7" / "arrays", copy / "7" / "arrays")
    with pytest.warns(
        RuntimeWarning, match="step 7: array [a-zA-Z0-9/]+ does not agree with its sha256"
    ):
        assert restore(copy).step == 3


def test_going_on_after_corruption_replaces_the_corrupt_steps(copy):
    (copy / "7" / "manifest" / "metadata").write_bytes(b"\0")
    with CheckpointStore(copy, keep=2) as store:
        with pytest.warns(RuntimeWarning, match="going back to step 3"):
            assert store.restore().step == 3
        store.save(5, make_state(5))
        assert store.steps() == [3, 5]
        assert store.restore().step == 5
    assert_same(restore(copy, make_state()).state, make_state(5))


def test_nothing_but_corruption(copy):
    for step in (3, 7):
        (copy / str(step) / "arrays" / "_METADATA").write_bytes(b"x")
    with (
        pytest.warns(RuntimeWarning, match="step 7 is corrupt, going back to step 3"),
        pytest.raises(
            AllCorruptError,
            match=r"holds corrupt checkpoints only: .*7/arrays/_METADATA.*3/arrays/_METADATA",
        ),
    ):
        restore(copy)


def test_newer_format_is_no_corruption(copy):
    manifest = copy / "7" / "manifest" / "metadata"
    content = json.loads(manifest.read_bytes())
    del content["sha256"]
    manifest.write_bytes(with_checksum({**content, "format_version": 2}))
    (copy / "7" / "files.json").unlink()
    with pytest.raises(
        ValueError, match="step 7 has format version 2, this lore_jax reads 1: update lore_jax"
    ):
        restore(copy)


def test_describe_says_what_is_there(copy):
    (copy / "7" / "arrays" / "_METADATA").write_bytes(b"x")
    with CheckpointStore(copy, read_only=True) as store:
        old, new = store.describe()
    assert (old["step"], old["corrupt"], old["extra"]["step"]) == (3, None, 3)
    assert old["arrays"]["params/V"] == "float32 [64, 5]"
    assert new["step"] == 7
    assert "_METADATA is truncated" in new["corrupt"]


def test_a_step_removed_while_it_is_read_is_no_corruption(copy, monkeypatch):
    with CheckpointStore(copy, read_only=True) as reader:
        read = reader._read_manifest

        def too_late(step):
            if step == 7:
                shutil.rmtree(copy / "7")
            return read(step)

        monkeypatch.setattr(reader, "_read_manifest", too_late)
        assert reader.restore().step == 3


@pytest.mark.parametrize("devices", [1, 4])
def test_other_numbers_of_devices_in_one_process(tmp_path, devices):
    table = np.arange(80, dtype=np.float32).reshape(16, 5)
    state = {
        "weights": jax.device_put(table, sharding_over(8)),
        "V": jax.device_put(table[:3], sharding_over(8, split=False)),
    }
    with CheckpointStore(tmp_path / "checkpoints") as store:
        store.save(0, state)
    target = {
        "weights": jax.ShapeDtypeStruct((16, 5), np.float32, sharding=sharding_over(devices)),
        "V": jax.device_put(np.zeros((3, 5), np.float32), sharding_over(devices, split=False)),
    }
    got = restore(tmp_path / "checkpoints", target).state
    for name, leaf in got.items():
        assert leaf.sharding == target[name].sharding
        np.testing.assert_array_equal(leaf, state[name])


def sharding_over(devices, split=True):
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    return NamedSharding(mesh, PartitionSpec("data") if split else PartitionSpec())


RESTORE = """
    import sys
    import jax, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from lore_jax.storage.checkpoint.store import CheckpointStore
    devices = int(sys.argv[2])
    assert len(jax.devices()) == devices
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    with CheckpointStore(sys.argv[1], read_only=True) as store:
        target = jax.ShapeDtypeStruct((16, 5), np.float32, sharding=sharding)
        weights = store.restore({"weights": target}).state["weights"]
        assert len(weights.sharding.device_set) == devices
        for array in (weights, store.restore().state["weights"]):
            np.testing.assert_array_equal(array, np.arange(80).reshape(16, 5))
"""


@pytest.mark.parametrize("devices", [1, 4])
def test_other_numbers_of_devices_in_another_process(tmp_path, devices):
    table = np.arange(80, dtype=np.float32).reshape(16, 5)
    with CheckpointStore(tmp_path / "checkpoints") as store:
        store.save(0, {"weights": jax.device_put(table, sharding_over(8))})
    done = run_python(RESTORE, tmp_path / "checkpoints", devices, devices=devices)
    assert done.stderr == ""


def run_python(code, *arguments, devices=1, check=True):
    env = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done


DIE_WHILE_SAVING = """
    import os, signal, sys
    import numpy as np
    from lore_jax.storage.checkpoint.store import AllCorruptError, CheckpointStore

    def save(store, step):
        state = {"a": np.full((50, 1000), step, np.float32), "b": np.full(3, step)}
        store.save(step, state, {"step": step})

    def save_and_die(folder, moment):
        with CheckpointStore(folder) as store:
            for step in (1, 2):
                save(store, step)
            countdown = moment

            # Python tells of every file it opens, makes, renames or removes
            def die(event, arguments):
                nonlocal countdown
                if any(isinstance(text, str) and text.startswith(folder) for text in arguments):
                    countdown -= 1
                    if countdown < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(die)
            save(store, 3)

    for moment in map(int, sys.argv[2:]):
        child = os.fork()
        if not child:
            save_and_die(os.path.join(sys.argv[1], str(moment)), moment)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_kill_minus_nine_at_many_moments_of_a_save(tmp_path):
    moments = [1, 3, 4, 6, 8, 10, 18, 22, 25, 27, 29, 31, 33, 45, 57, 58]
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(DIE_WHILE_SAVING),
        str(tmp_path),
        *map(str, moments),
    ]
    done = subprocess.run(
        command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stdout=subprocess.PIPE, timeout=120
    )
    assert [int(line) for line in done.stdout.split()] == [-signal.SIGKILL] * len(moments)
    found = []
    for moment in moments:
        folder = tmp_path / str(moment)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a killed save corrupts nothing
            step, state, extra = restore(folder)
        assert extra == {"step": step}
        np.testing.assert_array_equal(state["a"], np.full((50, 1000), step, np.float32))
        np.testing.assert_array_equal(state["b"], np.full(3, step))
        found.append(step)
        with CheckpointStore(folder) as store:
            store.save(4, {"a": np.ones(3)})
        assert not list(folder.glob("*tmp*"))
    assert found == sorted(found)  # the later the death, the newer what is left
    assert set(found) == {2, 3}


FULL_DISK = """
    import resource, sys
    import numpy as np
    from lore_jax.storage.checkpoint.store import CheckpointStore
    with CheckpointStore(sys.argv[1]) as store:
        store.save(0, {"a": np.ones(10)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            rng = np.random.default_rng(0)
            store.save(1, {name: rng.random(20_000) for name in "abcdefgh"})
        except OSError as error:
            assert sys.argv[1] in str(error) and "\\n" not in str(error), error
        else:
            raise SystemExit("no error")
        assert store.restore().step == 0
        store.save(1, {"a": np.ones(10)})
"""


def test_a_full_disk_loses_nothing(tmp_path):
    printed = run_python(FULL_DISK, tmp_path / "checkpoints").stderr
    assert not printed, printed  # of Orbax' threads, which have tracebacks for every array
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["0", "1"]


TWO_PROCESSES = """
    import sys
    import jax, numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, int(sys.argv[3]))
    from lore_jax.storage.checkpoint.store import CheckpointStore
    mesh = Mesh(np.array(jax.devices()), ("data",))
    table = np.arange(80, dtype=np.float32).reshape(16, 5)
    split, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))
    state = {
        "weights": jax.make_array_from_callback(table.shape, split, lambda index: table[index]),
        "V": jax.make_array_from_callback(table.shape, whole, lambda index: table[index]),
    }
    with CheckpointStore(sys.argv[1]) as store:
        store.save(4, state, {"loss": 1})
        got = store.restore(state)
    assert got.step == 4 and got.extra == {"loss": 1}
    for name, leaf in got.state.items():
        assert leaf.sharding == state[name].sharding
        for shard in leaf.addressable_shards:
            np.testing.assert_array_equal(shard.data, table[shard.index])
"""


def test_two_processes_save_together(tmp_path):
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(TWO_PROCESSES),
        str(tmp_path / "checkpoints"),
        str(port),
    ]
    processes = [
        subprocess.Popen([*command, str(i)], env=env, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    np.testing.assert_array_equal(
        restore(tmp_path / "checkpoints").state["weights"], np.arange(80).reshape(16, 5)
    )
