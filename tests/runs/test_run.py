"""Runs: they end where an unbroken one ends, whatever happened on the way, and never on the wrong
data.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings

import jax
import numpy as np
import pytest
from small_run import QUICK, write_small_cache

from lore_jax.cli.main import main
from lore_jax.data.four_way import four_way
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit
from lore_jax.fitting.validation import SweepTable
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.methods.reference import ReferenceConfig
from lore_jax.model.saved import load
from lore_jax.runs import material
from lore_jax.runs.config import SplitConfig
from lore_jax.runs.folder import read_run
from lore_jax.runs.run import run_fit
from lore_jax.storage.cache.reader import load_cache
from lore_jax.storage.checkpoint.store import CheckpointStore
from lore_jax.storage.files import locked, with_checksum

ONE_DEVICE = dataclasses.replace(QUICK, devices=1)


def with_method(**changes):
    """The quick fit with another setting of its method."""
    method = dataclasses.replace(QUICK.fit.method, **changes)
    return dataclasses.replace(QUICK.fit, method=method)


def assert_same_end(path, unbroken):
    for one, other in zip(
        jax.tree.leaves(load(path / "model")),
        jax.tree.leaves(load(unbroken / "model")),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert (path / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()


def die_at(step):
    """The process gets SIGTERM when this step is made."""
    return lambda row: os.kill(os.getpid(), signal.SIGTERM) if row["step"] == step else None


def test_a_run_is_the_fit_of_its_training_part(cache, unbroken):
    prefs = load_cache(cache)
    split = four_way(prefs, group_by="prompt", items=("new items",), seed=0)
    model, users, history = fit(
        split.train, dataclasses.replace(QUICK.fit, group_by="prompt"), key=jax.random.key(0)
    )
    saved_model, saved_users = load(unbroken / "model")
    for one, other in zip(
        jax.tree.leaves((saved_model, saved_users)), jax.tree.leaves((model, users)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(saved_users.user_ids, split.train.user_ids)
    metrics = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == list(range(25))
    np.testing.assert_array_equal(np.float32([line["loss"] for line in metrics]), history.loss)


def test_what_is_kept_is_announced_before_the_fit_and_recorded(cache, tmp_path):
    said = []

    def announce(line):
        assert not (tmp_path / "run").exists()
        said.append(line)

    report = run_fit(cache, tmp_path / "run", ONE_DEVICE, announce=announce)
    assert said[0].startswith("groups: prompts; ")
    assert said[1].startswith("7 unseen users are too few")
    assert report.run.manifest["split"]["summary"] == said


def test_runs_of_one_seed_can_test_everything_once(cache, tmp_path):
    rows, unseen = [], []
    for k in range(2):
        split = dataclasses.replace(QUICK.split, fold=(k, 2))
        config = dataclasses.replace(ONE_DEVICE, split=split)
        parts = run_fit(cache, tmp_path / str(k), config).run.load_parts()
        rows += [row for part in parts.tests.values() for row in part.row.tolist()]
        unseen += parts.shots.user_ids.tolist()
    assert len(set(rows)) == len(rows) > 200
    assert len(set(unseen)) == len(unseen) > 20


def test_the_manifest_says_what_was_done(cache, unbroken):
    manifest = read_run(unbroken).manifest
    assert manifest["config"]["fit"]["method"]["steps"] == 25
    assert manifest["choice"] == {"rank": 2}
    assert (manifest["data"]["cache"], manifest["data"]["dim"], manifest["group_by"]) == (
        str(cache),
        12,
        "prompt",
    )
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["devices"]["count"] == 1


def test_a_checkpoint_holds_users_in_their_order_and_nothing_of_devices(unbroken):
    with CheckpointStore(unbroken / "checkpoints", read_only=True) as store:
        step, arrays, _ = store.restore()
    assert step == 25
    _, users = load(unbroken / "model")
    logits = arrays["logits"]
    assert logits.shape == (users.num_users, 2)
    has_pairs = np.asarray(users.shots) > 0
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights[has_pairs], users.weights[has_pairs], atol=1e-6)
    assert arrays["params/V"].shape == (12, 2)  # once, and not once a shard


@pytest.mark.parametrize("step", [0, 9, 10, 24])
def test_sigterm_writes_a_checkpoint_and_resuming_ends_the_same(cache, unbroken, tmp_path, step):
    handler = signal.getsignal(signal.SIGTERM)
    config = dataclasses.replace(ONE_DEVICE, checkpoint_seconds=1e9)
    # nothing is there: it begins
    report = run_fit(cache, tmp_path / "run", config, resume=True, on_metrics=die_at(step))
    assert signal.getsignal(signal.SIGTERM) == handler
    expected = min(25, 10 * (step // 10 + 1))
    assert (report.step, report.run.is_finished) == (expected, expected == 25)
    with CheckpointStore(tmp_path / "run" / "checkpoints", read_only=True) as store:
        assert store.steps() == [expected]
    report = run_fit(cache, tmp_path / "run", config, resume=True)
    assert (report.resumed_from, report.step, report.run.is_finished) == (expected, 25, True)
    assert_same_end(tmp_path / "run", unbroken)
    assert not list(tmp_path.rglob("*.lock"))


def test_the_population_model_resumes_too(cache, tmp_path):
    method = PopulationConfig(
        steps=12,
        rank=2,
        ridge_population=3.0,
        ridge_deviation=3.0,
        item_effects=0.5,
        item_effects_deviation=0.5,
        num_components=2,
        logit_scale=1.2,
    )
    config = dataclasses.replace(ONE_DEVICE, fit=FitConfig(method), chunk=5)
    run_fit(cache, tmp_path / "unbroken", config)
    assert run_fit(cache, tmp_path / "run", config, on_metrics=die_at(3)).step == 5
    run_fit(cache, tmp_path / "run", config, resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "unbroken")
    assert load(tmp_path / "run" / "model")[0].item_effects is not None


def test_what_validation_chose_is_kept_and_not_chosen_again(cache, tmp_path, monkeypatch):
    asked = []

    def choose(prefs, config, *, key, devices, progress):
        rank = config.method.rank
        asked.append(rank)
        loss = np.array([[0.7, 0.8], [0.5, np.nan]])
        table = SweepTable("rank", [{"rank": 1}, {"rank": 3}], loss, np.ones((2, 2)), 1)
        return {"rank": rank or 3}, () if rank else (table,)

    monkeypatch.setattr(sys.modules["lore_jax.fitting.fit"], "choose", choose)
    config = dataclasses.replace(ONE_DEVICE, fit=with_method(rank=None))
    run_fit(cache, tmp_path / "run", config, on_metrics=die_at(3))
    manifest = read_run(tmp_path / "run").manifest
    assert manifest["choice"] == {"rank": 3}
    assert manifest["validation"][0]["loss"] == [[0.7, 0.8], [0.5, None]]
    assert run_fit(cache, tmp_path / "run", config, resume=True).run.is_finished
    assert asked == [None, 3]
    assert load(tmp_path / "run" / "model")[0].rank == 3


def test_metrics_are_given_as_they_are_kept(cache, tmp_path):
    seen = []
    run_fit(cache, tmp_path / "run", ONE_DEVICE, on_metrics=seen.append)
    kept = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert seen == [json.loads(line) for line in kept]
    assert [row["step"] for row in seen] == list(range(25))


KILLED = """
    import dataclasses, os, signal, sys
    import jax
    jax.config.update("jax_compilation_cache_dir", sys.argv[4])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    from lore_jax.runs.run import run_fit
    from small_run import QUICK
    folder, countdown = sys.argv[2], int(sys.argv[3])

    def die(event, arguments):  # Python tells of every file it opens, makes, renames or removes
        global countdown
        if any(isinstance(argument, str) and argument.startswith(folder) for argument in arguments):
            countdown -= 1
            if countdown < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    run_fit(sys.argv[1], folder, dataclasses.replace(QUICK, devices=1), resume=True)
"""


def test_killed_again_and_again_it_ends_the_same(cache, unbroken, tmp_path):
    # The flags of this process too: with another number of CPU devices sums are split in another
    # way.
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    steps = []
    for countdown in (9, 70, 110, 110):
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(KILLED),
            cache,
            tmp_path / "run",
            countdown,
            tmp_path / "jit",
        ]
        done = subprocess.run(
            list(map(str, command)), env=env, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        with CheckpointStore(tmp_path / "run" / "checkpoints") as store:
            steps.append(max(store.steps(), default=0))
    assert steps == sorted(steps)
    assert len(set(steps)) > 2, steps
    run_fit(cache, tmp_path / "run", ONE_DEVICE, resume=True)
    assert_same_end(tmp_path / "run", unbroken)


def test_corrupt_checkpoints_are_passed_over_and_made_again(cache, unbroken, copy):
    shutil.rmtree(copy / "model")
    for step, match in (
        (25, "step 25 is corrupt, going back to step 20"),
        (20, "starting again from step 0"),
    ):
        with CheckpointStore(copy / "checkpoints", read_only=True) as store:
            assert store.steps() == [20, 25]
        (copy / "checkpoints" / str(step) / "manifest" / "metadata").write_bytes(b"\0")
        if step == 20:
            (copy / "checkpoints" / "25" / "manifest" / "metadata").write_bytes(b"\0")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            report = run_fit(cache, copy, ONE_DEVICE, resume=True)
        assert match in str(seen[-1].message)
        assert report.resumed_from == (20 if step == 25 else 0)
        assert_same_end(copy, unbroken)
        shutil.rmtree(copy / "model")


def test_a_finished_run_stays_and_a_corrupt_model_is_made_again(cache, unbroken, copy):
    report = run_fit(cache, copy, ONE_DEVICE, resume=True)
    assert (report.resumed_from, report.step, report.run.is_finished) == (25, 25, True)
    (copy / "model" / "0" / "arrays" / "_METADATA").write_bytes(b"")
    with pytest.warns(
        RuntimeWarning, match="the model is made again from the last checkpoint"
    ) as seen:
        run_fit(cache, copy, ONE_DEVICE, resume=True)
    assert len(seen) == 1
    assert_same_end(copy, unbroken)


@pytest.mark.parametrize("devices", [1, 4])
def test_resumed_on_other_devices(cache, unbroken, tmp_path, devices):
    config = dataclasses.replace(QUICK, devices=8)
    run_fit(cache, tmp_path / "run", config, on_metrics=die_at(5))
    run_fit(cache, tmp_path / "run", dataclasses.replace(QUICK, devices=devices), resume=True)
    (model, users), (expected, expected_users) = (
        load(tmp_path / "run" / "model"),
        load(unbroken / "model"),
    )
    # the same numbers up to the order of sums
    np.testing.assert_allclose(model.params["V"], expected.params["V"], atol=1e-4)
    np.testing.assert_allclose(users.weights, expected_users.weights, atol=1e-4)


def test_the_reference_head_and_a_convex_fit_have_no_steps(cache, tmp_path):
    given = {"ridge_population": 3.0, "ridge_deviation": 3.0, "item_effects": 0.0}
    given["item_effects_deviation"] = 0.0
    rank_1 = PopulationConfig(rank=1, **given, num_components=0, logit_scale=1.0)
    for method in (ReferenceConfig(), BradleyTerryConfig(3.0), rank_1):
        path = tmp_path / type(method).__name__
        config = dataclasses.replace(ONE_DEVICE, fit=FitConfig(method))
        report = run_fit(cache, path, config)
        assert (report.step, report.steps, report.loss) == (0, 0, None)
        assert report.run.is_finished
        assert run_fit(cache, path, config, resume=True).run.is_finished
        assert load(path / "model")[0].rank == 1


def test_everything_can_be_fitted(cache, tmp_path):
    config = dataclasses.replace(ONE_DEVICE, split=SplitConfig(everything=True))
    run = run_fit(cache, tmp_path / "run", config).run
    parts = run.load_parts()
    assert (parts.train.num_pairs, parts.train.num_users, parts.shots, parts.tests) == (
        240,
        25,
        None,
        {},
    )
    assert load(run.path / "model")[1].num_users == 25


def refused(error, match, cache, path, config=ONE_DEVICE, **options):
    before = snapshot(path.parent)
    with pytest.raises(error, match=match) as seen:
        run_fit(cache, path, config, **options)
    assert "\n" not in str(seen.value)
    assert snapshot(path.parent) == before


def snapshot(folder):
    return {
        file: file.read_bytes() if file.is_file() else None for file in sorted(folder.rglob("*"))
    }


def test_nothing_is_lost_and_nothing_begun_on_the_wrong_data(cache, copy, tmp_path):
    refused(FileExistsError, "holds a run already: resume it, overwrite it", cache, copy)
    both = {"resume": True, "overwrite": True}
    refused(ValueError, "resume and overwrite are both asked for", cache, copy, **both)
    other = dataclasses.replace(ONE_DEVICE, fit=with_method(rank=5), seed=3)
    match = r"and cannot go on with fit.method.rank 5 \(it has 2\), seed 3 \(it has 0\)"
    refused(ValueError, match, cache, copy, other, resume=True)
    other_cache = write_small_cache(tmp_path / "other", seed=1)
    refused(ValueError, "other is another cache than the one of", other_cache, copy, resume=True)
    manifest = json.loads((copy / "run.json").read_bytes())
    del manifest["sha256"]
    (copy / "run.json").write_bytes(with_checksum({**manifest, "format_version": 3}))
    message = "format version 3, this lore_jax reads 2: update lore_jax"
    refused(ValueError, message, cache, copy, resume=True)
    (copy / "run.json").write_bytes(b"{")
    refused(ValueError, "run.json is corrupt", cache, copy, resume=True)
    with (
        locked(tmp_path / "run.lock"),
        pytest.raises(BlockingIOError, match=f"held by process {os.getpid()}"),
    ):
        run_fit(cache, copy.parent / "run", ONE_DEVICE, resume=True)
    run_fit(cache, copy, ONE_DEVICE, overwrite=True)
    (copy / "thesis.tex").write_text("")
    refused(
        FileExistsError,
        "holds 'thesis.tex', which is no part of a run",
        cache,
        copy,
        overwrite=True,
    )
    (tmp_path / "file").write_text("")
    refused(FileExistsError, "file is a file", cache, tmp_path / "file")
    refused(
        FileNotFoundError, "missing is not a cache", tmp_path / "missing", tmp_path / "new" / "run"
    )
    for changes, match in (
        ({"fit": with_method(rank=99)}, "rank is 99: 1 to 12"),
        ({"split": SplitConfig(min_train=100)}, "0 of 25 users have 100 training pairs"),
        ({"split": SplitConfig(unseen_users=1.5)}, "unseen_users is 1.5: a share between 0 and 1"),
        ({"devices": 9}, "devices is 9: 1 to 8"),
    ):
        refused(
            ValueError,
            match,
            cache,
            tmp_path / "new" / "run",
            dataclasses.replace(ONE_DEVICE, **changes),
        )


def test_a_fit_that_diverges_says_so_and_keeps_its_checkpoint(cache, tmp_path):
    fit_config = with_method(learning_rate=1e38)
    message = r"the loss is (nan|inf) at step [0-9]+: try a lower learning rate"
    with pytest.raises(ValueError, match=message):
        run_fit(cache, tmp_path / "run", dataclasses.replace(ONE_DEVICE, fit=fit_config))
    assert not read_run(tmp_path / "run").is_finished


def test_sigterm_before_the_fit_begins_ends_it_at_once(cache, tmp_path, monkeypatch, capsys):
    def chosen_for_hours(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it goes on")

    monkeypatch.setattr(material, "start", chosen_for_hours)
    handler = signal.getsignal(signal.SIGTERM)
    assert main(["fit", str(cache), "--out", str(tmp_path / "run")]) == 0
    assert "stopped before the fit began, nothing is kept" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) == handler
