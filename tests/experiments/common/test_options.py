"""The options of the experiments on published data, and what they refuse."""

import pytest

import lore_jax as lore
from experiments import prism, reddit_tldr
from experiments.common.fits import REFERENCE_HEAD
from experiments.common.options import Options, embedded, fits
from lore_jax.datasets.prism import read_prism
from lore_jax.storage.cache.reader import read_texts


def test_the_default_validates_and_the_paper_does_not():
    validated, paper = (fits(Options(out=None, paper=paper)) for paper in (False, True))
    assert list(validated) == ["reference head", "ridge BT", "LoRe", "gaussian"]
    assert list(paper) == ["reference head", "BT", "LoRe"]
    assert validated["ridge BT"].method.ridge is None
    assert validated["gaussian"].method.ridge_population is None
    for name in ("ridge BT", "gaussian"):
        assert (validated[name].holdout, validated[name].group_by) == ("new items", "prompt")
    for config in (paper["BT"], paper["LoRe"], validated["LoRe"]):
        method = config.method
        assert isinstance(method, lore.SimplexConfig)
        assert (method.steps, method.learning_rate, method.temperature) == (1000, 0.5, 100.0)
    assert (paper["BT"].method.rank, paper["LoRe"].method.rank) == (1, 10)
    assert paper["reference head"] == REFERENCE_HEAD
    assert (Options(out=None).num_splits, Options(out=None, paper=True).num_splits) == (5, 20)


def test_missing_data_and_models_are_refused(files, cache, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"--data is missing: .*'HannahRoseKirk/prism-alignment'"
    ):
        prism.main(prism.Config(out=tmp_path / "run"))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: a folder is expected"):
        prism.main(prism.Config(out=tmp_path / "run", data="nowhere"))
    config = prism.Config(out=tmp_path / "run", data=str(files / "prism"))
    with pytest.raises(FileNotFoundError, match="cache is not there, and --model is missing"):
        prism.main(config)
    with pytest.raises(ValueError, match="was made of other data: remove it"):
        reddit_tldr.main(
            reddit_tldr.Config(out=tmp_path / "run", data=str(files / "tldr"), cache=cache)
        )
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_cache_that_lost_a_text_is_refused(files, cache, monkeypatch):
    published = read_prism(files / "prism")
    options = Options(out=files / "elsewhere", cache=cache)
    assert embedded(published.pairs, options).num_pairs == len(published.pairs.user)
    stored = list(read_texts(cache))
    monkeypatch.setattr(
        "experiments.common.options.read_texts",
        lambda _: [*stored[:-1], (stored[-1][0], "Another reply.")],
    )
    with pytest.raises(ValueError, match="was made of other data"):
        embedded(published.pairs, options)
