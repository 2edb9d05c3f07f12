"""The command, from a cache to a page; caches without prompts, without a head."""

import json

import numpy as np
import pytest
from command_line import run
from small_run import write_small_cache

from lore_jax.storage.cache.writer import CacheWriter

QUICK = ["--methods", "bradley-terry", "reference-head", "--smoke", "--user-shares", "0.5"]


def test_from_a_cache_to_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_small_cache("cache")
    text = run(capsys, "compare", "cache", "--out", "run", *QUICK, "--shots", "0", "3")
    assert "## Unseen users, new prompts, 3 shots" in text
    assert "FITS OF A FEW STEPS" in text
    assert text.splitlines()[-3:] == [
        "Saved run/results.json",
        "Saved run/tables.md",
        "Saved run/figures",
    ]
    figures = sorted(path.name for path in (tmp_path / "run" / "figures").iterdir())
    assert figures == ["shots-new-items.png", "users-new-items.png"]
    # Once more, nothing is fitted: the part is there.
    again = run(capsys, "compare", "cache", "--out", "run", *QUICK, "--shots", "0", "3", "--json")
    result = json.loads(again)
    assert [fit["method"] for fit in result["fits"]] == ["reference-head", "bradley-terry"] * 2
    assert result["markdown"] in text
    run(capsys, "report", "run/results.json", "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Every method: unseen users, new prompts, 3 shots" in page
    # Other settings need another folder.
    error = run(capsys, "compare", "cache", "--out", "run", *QUICK, "--seed", "1", status=2)
    assert "was made with other settings (config, seed)" in error


@pytest.mark.parametrize("items", ["new items", "known items"])
def test_votes_on_one_pool_of_responses_without_a_head(items, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    users, responses = 12, 30
    order = [rng.permutation(responses)[:24] for _ in range(users)]
    chosen, rejected = (np.concatenate([row[side::2] for row in order]) for side in (0, 1))
    with CacheWriter("cache", dim=6, dtype="float16", encoder={"model": "m"}) as writer:
        writer.append(rng.normal(size=(responses, 6)).astype(np.float32))
        writer.finish(
            chosen=chosen,
            rejected=rejected,
            user=np.repeat(np.arange(users), 12),
            user_ids=[f"user {i}" for i in range(users)],
        )
    text = run(capsys, "compare", "cache", "--out", "run", *QUICK, "--items", items)
    assert f"Unseen users, {items.replace('item', 'response')}" in text
    assert "cannot run: the reference head is asked for, but the preferences have none" in text
