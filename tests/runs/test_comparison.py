"""A comparison on disk: stopped and resumed it ends where an unbroken one ends."""

import json

import pytest
from compared import Refusing, entry, small_split, without_seconds

from lore_jax.evaluation.comparison import ComparisonConfig
from lore_jax.evaluation.results import read_results
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.runs.comparison import comparison_part, refuse_other_folder, run_comparison

METHODS = {"bt": entry(BradleyTerryConfig(ridge=3.0)), "no": entry(Refusing())}


def parts(announce=None, shots=(0, 5)):
    return [
        comparison_part(
            METHODS,
            small_split,
            ComparisonConfig(shots, user_shares=()),
            data="small",
            items="new items",
            number=number,
            seed=number,
            announce=announce,
        )
        for number in range(2)
    ]


def test_resumed_it_is_the_same_as_unbroken(tmp_path):
    whole = run_comparison(tmp_path / "whole", parts(), seed=0, note="Toy.")
    made = []

    def stop(fit):
        made.append((fit["split"], fit["method"]))
        if fit["split"] == 1 and len(made) < 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_comparison(tmp_path / "run", parts(stop), seed=0, note="Toy.")
    assert [path.name for path in (tmp_path / "run" / "parts").iterdir()] == [
        "small-new-items-0.json"
    ]
    refuse_other_folder(tmp_path / "run")
    resumed = run_comparison(tmp_path / "run", parts(stop), seed=0, note="Toy.")
    assert made == [(0, "bt"), (0, "no"), (1, "bt"), (1, "bt"), (1, "no")]
    assert without_seconds(resumed) == without_seconds(whole)
    assert read_results(tmp_path / "run" / "results.json") == json.loads(json.dumps(resumed))
    text = (tmp_path / "run" / "tables.md").read_text()
    assert text.startswith("Toy.\n\n## Unseen users, new prompts, 5 shots")
    assert "cannot run: pairs that several users judged" in text
    assert [fit["split"] for fit in resumed["fits"]] == [0, 0, 1, 1]

    with pytest.raises(ValueError, match=r"small-new-items-0\.json was made with other settings"):
        run_comparison(tmp_path / "run", parts(shots=(0, 10)), seed=0)


def test_a_comparison_of_which_nothing_ran_says_why(tmp_path):
    part = comparison_part(
        {"no": METHODS["no"]},
        small_split,
        ComparisonConfig(),
        data="small",
        items="new items",
        number=0,
        seed=0,
    )
    results = run_comparison(tmp_path, [part], seed=0)
    assert (results["rows"], len(results["fits"])) == ([], 3)
    lines = (tmp_path / "tables.md").read_text().splitlines()
    assert [line for line in lines if "cannot run" in line] == lines[-1:]
    assert not list((tmp_path / "figures").iterdir())


def test_other_folders_are_refused(tmp_path):
    refuse_other_folder(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    refuse_other_folder(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="file is a file: a folder, new or of a comparison"):
        refuse_other_folder(tmp_path / "file")
    (tmp_path / "empty" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match=r"holds 'thesis\.tex', which is no part of"):
        refuse_other_folder(tmp_path / "empty")
