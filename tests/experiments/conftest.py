"""Synthetic files of published data, and one embedded cache, for all experiments."""

import pytest

from experiments.common import smoke_data
from experiments.common.options import Options, embedded
from lore_jax.datasets.prism import read_prism


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Synthetic files of the published schemas, by the name of the data set."""
    root = tmp_path_factory.mktemp("files")
    smoke_data.write_reddit_tldr(root / "tldr")
    smoke_data.write_prism(root / "prism")
    smoke_data.write_personalllm(root / "personalllm")
    return root


@pytest.fixture(scope="session")
def cache(files):
    """PRISM's pairs, embedded by the tiny reward model."""
    embedded(read_prism(files / "prism").pairs, Options(out=files / "run", smoke=True))
    return files / "run" / "cache"
