"""Two real processes joined by `jax.distributed`: they fit together, stop at one's SIGTERM, resume,
adapt, and save.
"""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from small_run import QUICK, write_small_cache

from lore_jax.model.saved import load
from lore_jax.runs.run import run_fit
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.checkpoint.store import CheckpointStore
from lore_jax.users.adapt import adapt

PROCESS = """
    import dataclasses, os, signal, sys
    import jax, numpy as np
    folder, port, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, number)
    assert (jax.process_count(), jax.local_device_count(), jax.device_count()) == (2, 2, 4)
    sys.path.insert(0, os.environ["TESTS"])
    from test_processes import CONFIG
    from lore_jax.fitting.fit import JointFit
    from lore_jax.runs import material, run as runs
    from lore_jax.users.adapt import adapt
    from lore_jax.storage.cache.reader import load_cache
    from lore_jax.model.saved import load

    # A signal to the second process, while the first chunk runs, stops both after it.
    advance = material.start
    def start(*args, **kw):
        running, state = advance(*args, **kw)
        def once(self, state, taken, count):
            if number == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return JointFit.advance(self, state, taken, count)
        once_interrupted = type("Interrupted", (JointFit,), {"advance": once})
        fields = {field.name: getattr(running, field.name) for field in dataclasses.fields(running)}
        return once_interrupted(**fields), state
    material.start = start
    stopped = runs.run_fit(f"{folder}/cache", f"{folder}/run", CONFIG)
    assert (stopped.step, stopped.run.is_finished) == (10, False), stopped
    material.start = advance
    report = runs.run_fit(f"{folder}/cache", f"{folder}/run", CONFIG, resume=True)
    assert (report.resumed_from, report.step, report.run.is_finished) == (10, 25, True), report

    # Each adapts users of its own.
    model, users = load(f"{folder}/run/model")
    prefs = load_cache(f"{folder}/cache")
    own = np.arange(number, prefs.num_users, 2)
    posterior = adapt(model, prefs.take_users(own))
    np.save(f"{folder}/weights-{number}.npy", np.asarray(posterior.weights))
"""
FLAGS = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
CONFIG = dataclasses.replace(
    QUICK,
    fit=dataclasses.replace(
        QUICK.fit, method=dataclasses.replace(QUICK.fit.method, num_minibatches=3)
    ),
)


def test_two_processes_are_one(tmp_path):
    write_small_cache(tmp_path / "cache")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "XLA_FLAGS": FLAGS, "JAX_PLATFORMS": "cpu"}
    env |= {"TESTS": os.path.dirname(__file__), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), str(tmp_path), str(port)]
    processes = [
        subprocess.Popen([*command, str(i)], env=env, stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    errors = []
    for process in processes:
        try:
            errors.append(process.communicate(timeout=150)[1])
        finally:
            process.kill()
    if any(
        "gloo" in error.lower() and "not" in error.lower() and "implement" in error.lower()
        for error in errors
    ):
        pytest.skip("this platform cannot join processes")
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)

    alone = run_fit(tmp_path / "cache", tmp_path / "alone", dataclasses.replace(CONFIG, devices=4))
    (model, users), (expected, expected_users) = (
        load(tmp_path / "run" / "model"),
        load(alone.run.path / "model"),
    )
    np.testing.assert_allclose(model.params["V"], expected.params["V"], atol=1e-4)
    np.testing.assert_allclose(users.weights, expected_users.weights, atol=1e-4)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(25))  # one writer
    with CheckpointStore(tmp_path / "run" / "checkpoints", read_only=True) as store:
        assert [step["corrupt"] for step in store.describe()] == [None, None]
    found = np.empty_like(adapt(expected, load_cache(tmp_path / "cache")).weights)
    for number in range(2):
        found[number::2] = np.load(tmp_path / f"weights-{number}.npy")
    np.testing.assert_allclose(
        found, adapt(model, load_cache(tmp_path / "cache")).weights, atol=1e-5
    )
