"""A comparison on disk: stopped and resumed it ends where an unbroken one ends."""

import json

import pytest
from compared import Refusing, entry, small_split, without_seconds

from lore_jax.evaluation.comparison import ComparisonConfig
from lore_jax.evaluation.results import read_results
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.runs.comparison import compared_test, refuse_other_folder, run_comparison

METHODS = {"bt": entry(BradleyTerryConfig(ridge=3.0)), "no": entry(Refusing())}
MORE = {"first": entry(BradleyTerryConfig(ridge=10.0)), **METHODS}


def made_of(announce=None, shots=(0, 5), methods=METHODS, split=small_split, shares=()):
    return [
        compared_test(
            methods,
            split,
            ComparisonConfig(shots, user_shares=shares),
            data="small",
            items="new items",
            number=number,
            seed=number,
            announce=announce,
        )
        for number in range(2)
    ]


def test_resumed_it_is_the_same_as_unbroken(tmp_path):
    whole = run_comparison(tmp_path / "whole", made_of(), seed=0, note="Toy.")
    made = []

    def stop(fit):
        made.append((fit["split"], fit["method"]))
        if fit["split"] == 1 and len(made) < 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_comparison(tmp_path / "run", made_of(stop), seed=0, note="Toy.")
    assert files(tmp_path / "run") == ["small-new-items-0/bt.json", "small-new-items-0/no.json"]
    refuse_other_folder(tmp_path / "run")
    resumed = run_comparison(tmp_path / "run", made_of(stop), seed=0, note="Toy.")
    assert made == [(0, "bt"), (0, "no"), (1, "bt"), (1, "bt"), (1, "no")]
    assert without_seconds(resumed) == without_seconds(whole)
    assert read_results(tmp_path / "run" / "results.json") == json.loads(json.dumps(resumed))
    text = (tmp_path / "run" / "tables.md").read_text()
    assert text.startswith("Toy.\n\n## Unseen users, new prompts, 5 shots")
    assert "cannot run: pairs that several users judged" in text
    assert [fit["split"] for fit in resumed["fits"]] == [0, 0, 1, 1]

    with pytest.raises(
        ValueError, match=r"small-new-items-0/bt\.json was made with other settings"
    ):
        run_comparison(tmp_path / "run", made_of(shots=(0, 10)), seed=0)


def test_stopped_and_with_a_method_more_it_fits_what_is_missing(tmp_path):
    whole = run_comparison(tmp_path / "whole", made_of(methods=MORE, shares=(0.5,)), seed=0)
    made, splits = [], []

    def split():
        splits.append(len(made))
        return small_split()

    def stop(fit):
        made.append((fit["split"], fit["method"], fit["user_share"]))
        if len(made) == 4:
            raise KeyboardInterrupt

    def once_more(methods):
        given = made_of(stop, methods=methods, split=split, shares=(0.5,))
        return run_comparison(tmp_path / "run", given, seed=0)

    with pytest.raises(KeyboardInterrupt):  # within the second method of the first split
        once_more(METHODS)
    assert files(tmp_path / "run") == ["small-new-items-0/bt.json"]
    once_more(METHODS)
    assert made[4:] == [
        (*what, share) for what in [(0, "no"), (1, "bt"), (1, "no")] for share in (1.0, 0.5)
    ]
    done = len(made)
    resumed = once_more(MORE)
    assert made[done:] == [(number, "first", share) for number in range(2) for share in (1.0, 0.5)]
    assert without_seconds(resumed) == without_seconds(whole)
    assert list(resumed["splits"][0]["chosen"]) == ["first", "bt"]
    for name in ("rows", "fits"):
        order = [entry["method"] for entry in resumed[name]]
        assert order == [entry["method"] for entry in whole[name]]
    texts = [(tmp_path / run / "tables.md").read_text() for run in ("whole", "run")]
    accuracies = [
        [line.split("|")[2] for line in text.splitlines() if "|" in line] for text in texts
    ]
    assert accuracies[0] == accuracies[1]
    # Nothing is missing: no split is made; and some of the methods are a table of their own.
    done = len(splits)
    alone = once_more({"first": MORE["first"]})
    assert {row["method"] for row in alone["rows"]} == {"first"}
    assert len(splits) == done


def test_a_method_configured_otherwise_is_refused(tmp_path):
    run_comparison(tmp_path, made_of(), seed=0)
    other = {"bt": entry(BradleyTerryConfig(ridge=30.0))}
    with pytest.raises(ValueError, match=r"0/bt\.json was made with other settings \(config\)"):
        run_comparison(tmp_path, made_of(methods=other), seed=0)


def files(out):
    """The parts that are there."""
    return sorted(path.relative_to(out / "parts").as_posix() for path in out.rglob("parts/*/*"))


def test_a_comparison_of_which_nothing_ran_says_why(tmp_path):
    part = compared_test(
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
