"""The experiments on published data: from generated files through a tiny reward model to the
tables, and no leak on any.
"""

import dataclasses
import json

import numpy as np
import pytest

import lore_jax as lore
from experiments import (
    personalllm,
    prism,
    rank_sweep,
    reddit_tldr,
    rehearsal,
    rewardbench2,
    shots_sweep,
)
from experiments.common import smoke_data
from experiments.common.options import Options, embedded, fits
from experiments.common.scorers import as_published, projected
from lore_jax.data.preferences import from_arrays
from lore_jax.datasets.leaks import number_texts
from lore_jax.datasets.prism import read_prism
from lore_jax.datasets.reddit_tldr import read_reddit_tldr
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation.evaluate import method
from lore_jax.evaluation.results import read_results, select
from lore_jax.model.basis import LinearBasis
from lore_jax.model.prior import Population
from lore_jax.storage.cache.reader import load_cache, read_texts


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The published files, made up, by the name of the data set."""
    root = tmp_path_factory.mktemp("files")
    smoke_data.write_reddit_tldr(root / "tldr")
    smoke_data.write_prism(root / "prism")
    smoke_data.write_personalllm(root / "personalllm")
    return root


@pytest.fixture(scope="module")
def cache(files):
    """PRISM's pairs, embedded by the tiny reward model."""
    embedded(read_prism(files / "prism").pairs, Options(out=files / "run", smoke=True))
    return files / "run" / "cache"


def texts_on_both_sides(drawn, responses):
    """Every turn and reply of what is fitted or adapted to that is also in a test, by brute force."""

    def texts(*parts):
        rows = {int(row) for part in parts for row in (*part.chosen, *part.rejected)}
        pairs = [responses[row] for row in rows]
        return {reply.strip() for _, reply in pairs} | {
            turn["content"].strip() for prompt, _ in pairs for turn in prompt
        }

    return texts(drawn.train, drawn.shots) & texts(*drawn.tests)


def check_outputs(out, results, methods):
    assert read_results(out / "results.json") == results
    assert list(dict.fromkeys(row["method"] for row in results["rows"])) == methods
    text = (out / "tables.md").read_text()
    assert "MADE-UP DATA" in text
    assert (out / "figures" / "shots-new-items.png").stat().st_size > 10_000
    assert results["machine"]["packages"]["jax"]
    return text


def test_reddit_tldr_from_files_to_tables_and_resumed(tmp_path, monkeypatch, capsys):
    config = reddit_tldr.Config(out=tmp_path / "run", smoke=True)
    results = reddit_tldr.main(config)
    text = check_outputs(
        tmp_path / "run", results, ["reference head", "ridge BT", "LoRe", "gaussian"]
    )
    assert text.strip() in capsys.readouterr().out
    assert "1 rows dropped: no post" in text
    assert results["splits"][0]["dropped"] == {
        "workers with too few pairs": 0,
        "training pairs with a text of the test": 0,
    }
    for control in (None, "mismatched user", "permuted users"):
        assert select(results, method="gaussian", control=control, users="unseen", shots=10)

    # Parts that are there are not made again, nor is anything embedded; other settings are refused.
    monkeypatch.setattr(reddit_tldr, "draw", lambda *args: pytest.fail("made again"))
    monkeypatch.setattr("lore_jax.embed.embed_pairs", lambda *args: pytest.fail("embedded again"))
    assert reddit_tldr.main(config)["rows"] == results["rows"]
    with pytest.raises(ValueError, match=r"TLDR-16-0\.json was made with other settings"):
        reddit_tldr.main(dataclasses.replace(config, rank=3, paper=True))


def test_prism_in_paper_mode_counts_shots_in_dialogues(tmp_path):
    results = prism.main(prism.Config(out=tmp_path / "run", smoke=True, paper=True))
    text = check_outputs(
        tmp_path / "run", results, ["reference head", "BT", "LoRe", "LoRe, weights by Adam"]
    )
    assert "10 dialogues" in text
    assert "[71.0]" in text  # the paper's
    assert sorted({row["shots"] for row in select(results, users="unseen")}) == [0, 1, 10]
    (entry,) = results["splits"]
    assert len(entry["users"]["seen"]) == len(entry["users"]["unseen"]) == 7


def test_personalllm_in_paper_mode_prints_the_papers_numbers(tmp_path):
    results = personalllm.main(personalllm.Config(out=tmp_path / "run", smoke=True, paper=True))
    text = check_outputs(
        tmp_path / "run", results, ["reference head", "BT", "LoRe", "LoRe, weights by Adam"]
    )
    assert "[93.6]" in text
    assert "| VPL (paper)" in text
    assert all(row["num_pairs"] <= 8 * 8 for row in results["rows"])


def test_the_honest_default_validates_and_the_paper_does_not():
    honest, paper = (fits(Options(out=None, paper=paper)) for paper in (False, True))
    assert list(honest) == ["reference head", "ridge BT", "LoRe", "gaussian"]
    assert list(paper) == ["reference head", "BT", "LoRe"]
    for name in ("ridge BT", "gaussian"):
        assert honest[name].ridge_population is None
        assert (honest[name].holdout, honest[name].group_by) == ("new items", "prompt")
    for of in (paper["BT"], paper["LoRe"], honest["LoRe"]):
        assert of.family == "simplex"
        assert (of.simplex.steps, of.simplex.learning_rate, of.simplex.temperature) == (
            1000,
            0.5,
            100.0,
        )
    assert (paper["BT"].rank, paper["LoRe"].rank, paper["reference head"].rank) == (1, 10, 0)
    assert (Options(out=None).num_splits, Options(out=None, paper=True).num_splits) == (5, 20)


# No text stands on both sides of any split


@pytest.mark.parametrize("paper", [False, True])
def test_prism_keeps_texts_apart(files, tmp_path, paper):
    history = [{"turn": 0, "role": "user", "content": "Hello"}]
    history += [
        {"turn": 0, "role": "model", "content": text, "if_chosen": text == "Hi!"}
        for text in ("Hi!", "No.", "?")
    ]
    rows = [
        {"conversation_id": f"same {i}", "user_id": f"user{i}", "conversation_history": history}
        for i in range(14)
    ]
    lines = (files / "prism" / "conversations.jsonl").read_text() + "".join(
        json.dumps(row) + "\n" for row in rows
    )
    (tmp_path / "conversations.jsonl").write_text(lines)
    published = read_prism(tmp_path)
    prefs = published.pairs.preferences(np.ones((len(published.pairs.responses), 1), np.float32))
    texts = number_texts(published.pairs.responses)
    drawn = prism.draw(prefs, texts, prism.Config(out=tmp_path, paper=paper), 0)
    assert not texts_on_both_sides(drawn, published.pairs.responses)
    assert drawn.dropped["training pairs with a text of the test"] > 0
    assert texts_on_both_sides(
        prism.draw(prefs, None, prism.Config(out=tmp_path, paper=paper), 0),
        published.pairs.responses,
    )
    for train, test in ((drawn.train, drawn.tests[0]), (drawn.shots, drawn.tests[1])):
        assert not set(train.prompt) & set(test.prompt)
    parts = (
        drawn.train.num_pairs + drawn.shots.num_pairs + sum(test.num_pairs for test in drawn.tests)
    )
    left_out = (
        drawn.dropped["training pairs with a text of the test"] + drawn.dropped["cross_split pairs"]
    )
    assert parts + left_out == prefs.num_pairs


def test_reddit_tldr_keeps_texts_apart(files, tmp_path):
    lines = (files / "tldr" / "comparisons" / "batch3.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    # A post of the validation turns up in the training split, and a summary of it under another
    # post.
    tests = [row for row in rows if row["split"] == "valid1"]
    rows[5]["info"]["post"] = tests[3]["info"]["post"]
    rows[7]["summaries"][0]["text"] = tests[4]["summaries"][1]["text"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    published = read_reddit_tldr(tmp_path)
    prefs = published.pairs.preferences(np.ones((len(published.pairs.responses), 1), np.float32))
    is_test = (published.column("split") == "validation")[prefs.row]
    config = reddit_tldr.Config(out=tmp_path, at_least=10)
    drawn = reddit_tldr.draw(prefs, is_test, number_texts(published.pairs.responses), config, 16, 0)
    assert not texts_on_both_sides(drawn, published.pairs.responses)
    assert drawn.dropped["training pairs with a text of the test"] == 2
    assert drawn.train.pairs_per_user().tolist() == [16] * 6
    with pytest.raises(ValueError, match="0 workers have 50 training pairs and a test pair"):
        reddit_tldr.draw(prefs, is_test, None, reddit_tldr.Config(out=tmp_path), 16, 0)
    few = dataclasses.replace(config, at_least=24)
    assert (
        reddit_tldr.draw(prefs, is_test, None, few, 16, 0).dropped["workers with too few pairs"]
        == 0
    )


@pytest.mark.parametrize("paper", [False, True])
def test_personalllm_keeps_prompts_and_texts_apart(files, tmp_path, paper):
    data = personalllm.read_personalllm(files / "personalllm")
    table = np.ones((len(data.responses), 1), np.float32)
    prefs = from_arrays(table, [0], [1], [0])
    config = personalllm.Config(out=tmp_path, users=6, prompts=12, shots=5, paper=paper)
    drawn = personalllm.draw(data, prefs, config, 0.5, 3)
    assert not texts_on_both_sides(drawn, data.responses)
    assert drawn.train.pairs_per_user().tolist() == [12] * 6
    assert drawn.shots.pairs_per_user().tolist() == [5 if paper else 12] * 6
    assert [test.pairs_per_user().tolist() for test in drawn.tests] == [[8] * 6] * 2
    again = personalllm.draw(data, prefs, config, 0.5, 4)
    assert not np.array_equal(drawn.train.chosen, again.train.chosen)


# Wrong use


def test_what_is_missing_is_said(files, cache, tmp_path):
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


# Sweeps, on the caches that the experiments leave


def test_rank_sweep_runs_all_ranks_in_one_program(cache, tmp_path, monkeypatch):
    ridges = {"rank": 9, "ridge_population": 10.0, "ridge_deviation": 3.0, "item_effects": 0.0}
    monkeypatch.setattr(rank_sweep, "choose", lambda *args, **kw: (ridges, ()))
    config = rank_sweep.Config(
        cache, tmp_path / "ranks", ranks=(1, 2, 4), splits=2, shots=4, steps=10
    )
    found = rank_sweep.run(config)
    assert {name: values.shape for name, values in found.items()} == {
        "LoRe, the paper's objective": (3, 2, 2),
        "gaussian": (3, 2, 2),
    }
    assert all(np.isfinite(values).all() for values in found.values())
    stored = json.loads((tmp_path / "ranks" / "rank_sweep.json").read_text())
    np.testing.assert_allclose(stored["accuracy"]["gaussian"], found["gaussian"], atol=1e-5)
    prefs = load_cache(config.cache)
    work = rank_sweep.roles(prefs, config)
    for fit, shots, test in zip(work["fit"] > 0, work["shots"] > 0, work["test"] > 0, strict=True):
        assert not (shots & test).any()
        assert not (fit & ~shots).any()
        assert not set(prefs.prompt[fit | shots]) & set(prefs.prompt[test])
        unseen = ~np.isin(prefs.user, prefs.user[fit])
        assert np.bincount(prefs.user[shots & unseen]).max() <= 4
        assert unseen[test].all() or not unseen[test].any()


def test_shots_sweep_gives_every_method_the_same_draws(cache, tmp_path, monkeypatch):
    of = fits(Options(out=tmp_path, smoke=True))
    monkeypatch.setattr(
        shots_sweep, "fits", lambda _: {name: of[name] for name in ("reference head", "LoRe")}
    )
    config = shots_sweep.Config(
        cache, tmp_path / "shots", shots=(0, 4), draws=2, splits=1, smoke=True, group_by="prompt"
    )
    results = shots_sweep.run(config)
    assert {row["data"] for row in results["rows"]} == {"draw 0", "draw 1"}
    drawn = [
        select(results, data=name, method="LoRe", shots=4, control=None)[0]
        for name in ("draw 0", "draw 1")
    ]
    assert drawn[0]["per_user"] != drawn[1]["per_user"]
    nobody = [
        select(results, data=name, method="LoRe", shots=0)[0] for name in ("draw 0", "draw 1")
    ]
    assert nobody[0]["per_user"] == nobody[1]["per_user"]
    assert "2 draws, the same for every method" in (tmp_path / "shots" / "tables.md").read_text()
    assert shots_sweep.run(config)["rows"] == results["rows"]


def test_rewardbench2_scores_head_columns_and_population(cache, tmp_path):
    prefs = load_cache(cache)
    rng = np.random.default_rng(0)
    columns = np.stack([prefs.head, rng.normal(size=prefs.dim)], axis=1).astype(np.float32)
    population = Population(np.array([1.0, 0.0], np.float32), np.zeros((2, 0), np.float32))
    two = lore.Model(LinearBasis(2), {"V": columns}, np.float32(1.0), population, "gaussian")
    lore.save(tmp_path / "fitted", two)
    out = tmp_path / "bench"
    found = rewardbench2.run(rewardbench2.Config(out=out, fitted=tmp_path / "fitted", smoke=True))
    assert list(found) == ["reference head", "population", "column 0", "column 1"]
    assert found["reference head"] == found["population"] == found["column 0"] != found["column 1"]
    assert set(found["column 1"]) == {"Factuality", "Math", "Ties", "average"}
    assert json.loads((out / "rewardbench2.json").read_text())["won"]["population"]["Math"] >= 0


# Scorers


def test_a_projected_method_says_what_the_model_says():
    truth = synthetic(
        SyntheticConfig(num_users=12, num_prompts=20, dim=16, rank=3, users="simplex"), seed=0
    )
    shots, test = lore.draw_shots(truth.prefs, 5, seed=0), lore.draw_shots(truth.prefs, 30, seed=1)
    users = lore.adapt(truth.model, truth.prefs)
    whole, small = method(truth.model, users), projected(truth.model, users, truth.prefs.embeddings)
    for scorer in ("adapted", "fitted"):
        expected, found = (getattr(of, scorer)(shots, test).mean for of in (whole, small))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    by_adam = as_published(truth.model, users, truth.prefs.embeddings, 0)
    agree = np.sign(by_adam.adapted(shots, test).mean) == np.sign(small.adapted(shots, test).mean)
    assert agree.mean() > 0.9  # 500 steps come near the optimum
    nobody = by_adam.adapted(lore.draw_shots(truth.prefs, 0, seed=0), test).mean
    assert np.isfinite(nobody).all()
    assert not np.allclose(
        nobody, small.adapted(lore.draw_shots(truth.prefs, 0, seed=0), test).mean
    )


# The rehearsal


def test_the_planted_columns_give_the_papers_numbers_for_bt_and_the_head():
    share, rho = rehearsal.calibrate(prompts=4000, seed=0)
    rng = np.random.default_rng(1)  # others than those it was solved on
    common, own, other = (
        rng.normal(size=(6000, 8, 1)),
        rng.normal(size=(6000, 8, 10)),
        rng.normal(size=(6000, 8)),
    )
    columns = np.sqrt(share) * common + np.sqrt(1 - share) * own
    mean = columns.mean(axis=2)
    head = rho * mean / mean.std() + np.sqrt(1 - rho**2) * other
    for scores, expected in ((mean, 0.8635), (head, 0.7725)):
        right = []
        for user in range(10):  # at alpha .001 a user is one of the columns
            best, worst = columns[..., user].argmax(axis=1), columns[..., user].argmin(axis=1)
            every = np.arange(len(columns))
            right.append(scores[every, best] > scores[every, worst])
        assert abs(np.mean(right) - expected) < 0.015


def test_rehearsed_personalllm_finds_the_planted_columns(tmp_path, monkeypatch):
    def fewer_steps(options):
        short = lore.SimplexConfig(steps=200)
        return {name: dataclasses.replace(of, simplex=short) for name, of in fits(options).items()}

    monkeypatch.setattr(personalllm, "fits", fewer_steps)
    config = rehearsal.Config(out=tmp_path, size=0.02, dim=24, alphas=(0.001,))
    results = rehearsal.run_personalllm(config)
    accuracy = {
        row["method"]: row["accuracy"]
        for row in select(results, users="unseen", shots=9, control=None)
    }
    assert accuracy["planted basis"] > 0.97
    assert accuracy["LoRe"] > accuracy["BT"] + 0.05
    assert accuracy["BT"] > accuracy["reference head"]
    assert "MADE-UP DATA." in (tmp_path / "tables.md").read_text()


def test_rehearsed_prism_has_the_real_shapes(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        prism,
        "run_on",
        lambda prefs, *args, **kw: seen.append((prefs, kw["known"]["planted basis"])),
    )
    rehearsal.run_prism(rehearsal.Config(out=tmp_path, size=60 / 1300, dim=16))
    ((prefs, truth),) = seen
    assert prefs.num_users == 60
    assert prefs.num_pairs == 60 * (6 * 3 + 3)  # 27,300 at full size
    assert prefs.num_responses == 60 * 6 * 6
    assert (prefs.prompt // 6 == prefs.user).all()
    assert (prefs.chosen // 6 == prefs.prompt).all()
    assert (prefs.rejected // 6 == prefs.prompt).all()
    assert prefs.embeddings.dtype.name == "bfloat16"
    right = lore.margins(truth, lore.adapt(truth, prefs), prefs).mean > 0
    assert right.mean() > 0.7
