"""The demo, small and with given ridges; through the command line too."""

import json

from lore_jax.cli.demo import Config, lines, run
from lore_jax.cli.main import main
from lore_jax.evaluation.results import Where, read_results, select

SMALL = {"users": 40, "pairs": 24, "dim": 8, "rank": 1, "ridge": 3.0}


def test_the_demo_leaves_one_json_its_figures_and_a_page(tmp_path):
    summary = run(Config(out=tmp_path / "demo", **SMALL))
    results = read_results(summary["results"])
    assert {row["method"] for row in results["rows"]} == {
        "reference head",
        "ridge BT",
        "gaussian",
        "oracle",
    }
    assert {(row["users"], row["items"]) for row in results["rows"]} == {
        (users, items) for users in ("seen", "unseen") for items in ("known items", "new items")
    }
    assert len(results["splits"][0]["digest"]) == 64
    figures = {
        f"{name}-{items}-items.png"
        for name in ("shots", "reliability")
        for items in ("known", "new")
    }
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "report.html",
        "results.json",
        "users.png",
        *figures,
    }
    assert [line.split("|")[1].strip() for line in summary["table"].splitlines()[2:]] == [
        "reference head",
        "ridge Bradley-Terry",
        "population (0 shots)",
        "another user's weights",
        "weights of the user asked most alike",
        "personal",
        "oracle (basis of the ground truth)",
    ]
    # Components that differ much: the truth is known to be worth many points.
    (oracle,) = select(
        results, Where(method="oracle", control=None, users="unseen", items="new items", shots=20)
    )
    (population,) = select(
        results, Where(method="oracle", control=None, users="unseen", items="new items", shots=0)
    )
    assert oracle["accuracy"] > population["accuracy"] + 0.05


def test_the_command_prints_table_conclusion_and_files(tmp_path, capsys):
    options = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]
    out = str(tmp_path / "demo")
    assert (
        main(["demo", "--out", out, "--num-components", "1", "--spread", "0", *options, "--json"])
        == 0
    )
    summary = json.loads(capsys.readouterr().out)
    assert summary["conclusion"]["statement"].startswith("No evidence that personalising helps")
    assert list(summary["conclusions"]) == [
        f"{users} users, {items} prompts"
        for users in ("Unseen", "Seen")
        for items in ("new", "known")
    ]
    assert not summary["conclusion"]["helps"]
    text = "\n".join(lines(summary))
    assert summary["table"] in text
    for label, conclusion in summary["conclusions"].items():
        assert f"{label}: {conclusion['statement']}." in text
    assert f"Saved {out}/results.json" in text
    assert f"Saved {out}/report.html" in text


def test_impossible_numbers_are_refused(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--rank", "9", "--dim", "8"]) == 2
    assert "rank 9 is above dim 8" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / "demo")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
