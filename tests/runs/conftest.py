"""A small cache, and a finished run of it to compare with and to copy."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from small_run import QUICK, write_small_cache

from lore_jax.runs.run import run_fit


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return write_small_cache(tmp_path_factory.mktemp("cache") / "cache")


@pytest.fixture(scope="session")
def unbroken(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "unbroken"
    report = run_fit(cache, path, dataclasses.replace(QUICK, devices=1))
    assert (report.resumed_from, report.step, report.steps) == (0, 25, 25)
    assert report.run.is_finished
    return path


@pytest.fixture
def copy(unbroken, tmp_path):
    return Path(shutil.copytree(unbroken, tmp_path / "run"))
