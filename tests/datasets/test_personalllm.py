"""PersonalLLM: simulated users against sums written out, and a table that shares nothing between
training and test.
"""

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments.common import smoke_data
from lore_jax.datasets.personalllm import (
    REPLIES,
    REWARD_MODELS,
    choices,
    draw_pairs,
    draw_users,
    read_personalllm,
)


@pytest.fixture
def folder(tmp_path):
    smoke_data.write_personalllm(tmp_path, train=6, test=3)
    return tmp_path


def change(folder, split, edit):
    file = folder / "data" / f"{split}-00000-of-00001.parquet"
    rows = pq.read_table(file).to_pylist()
    edit(rows)
    smoke_data.write_jsonl(folder / "data" / f"{split}.jsonl", rows)
    file.unlink()


def test_the_table_is_what_the_files_say(folder):
    table = read_personalllm(folder)
    assert table.scores.shape == (9, 8, 10)
    assert table.counts == {"train prompts": 6, "test prompts": 3}
    np.testing.assert_array_equal(table.is_test, [False] * 6 + [True] * 3)
    row = pq.read_table(folder / "data" / "test-00000-of-00001.parquet").to_pylist()[1]
    for index in range(REPLIES):
        prompt, reply = table.responses[table.row[7, index]]
        assert (prompt[0]["content"], reply) == (row["prompt"], row[f"response_{index + 1}"])
        expected = [row[f"response_{index + 1}_{model}"] for model in REWARD_MODELS]
        np.testing.assert_allclose(table.scores[7, index], expected, rtol=1e-6)
    train = table.standardised()[:6].reshape(-1, 10)
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(train.std(0), 1, atol=1e-5)


def test_every_reward_model_is_a_user_of_the_pairs_to_embed(folder):
    table = read_personalllm(folder)
    pairs = table.pairs()
    assert pairs.user_ids == list(REWARD_MODELS)
    assert len(pairs.user) == 90
    for pair in range(90):
        scores = table.scores[pairs.prompt[pair], :, pairs.user[pair]]
        rows = table.row[pairs.prompt[pair]]
        assert pairs.chosen[pair] == rows[scores.argmax()]
        assert pairs.rejected[pair] == rows[scores.argmin()]


def test_prompts_of_the_test_and_their_replies_are_in_no_training_prompt(folder):
    def leak(rows):
        rows[0]["prompt"] = "A test prompt, number 1?"
        rows[1]["response_3"] = " " + leaked
        rows.append(dict(rows[2], prompt_id=77))

    leaked = pq.read_table(folder / "data" / "test-00000-of-00001.parquet").to_pylist()[0][
        "response_5"
    ]
    change(folder, "train", leak)
    table = read_personalllm(folder)
    assert table.counts == {
        "train prompts": 7,
        "train prompts dropped: duplicated": 1,
        "test prompts": 3,
        "train prompts dropped: a text of the test": 2,
    }
    sides = []
    for rows in (table.row[~table.is_test], table.row[table.is_test]):
        used = [table.responses[row] for row in rows.ravel()]
        sides.append({reply for _, reply in used} | {prompt[0]["content"] for prompt, _ in used})
    assert not sides[0] & sides[1]
    assert table.is_test.sum() == 3


def test_ids_that_begin_again_in_the_test_are_no_leak(folder):
    assert (~read_personalllm(folder).is_test).sum() == 6  # both files number their prompts from 0


BAD = {
    "another schema": (lambda row: row.pop("response_8_gemma_7b"), "'response_8_gemma_7b' missing"),
    "no number": (
        lambda row: row.update(response_2_gemma_2b=None),
        "response_2_gemma_2b is None: a finite number",
    ),
    "not finite": (
        lambda row: row.update(response_2_gemma_2b=float("nan")),
        "response_2_gemma_2b is nan",
    ),
    "no reply": (lambda row: row.update(response_4=" "), "response_4 is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_with_their_place(folder, name):
    edit, message = BAD[name]
    change(folder, "test", lambda rows: edit(rows[1]))
    with pytest.raises(ValueError, match=rf"test\.jsonl line 2: .*{message}"):
        read_personalllm(folder)


def test_a_split_that_is_missing_is_named(folder):
    (folder / "data" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="with 'test' in its path; found data/train"):
        read_personalllm(folder)


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.1, 2.0])
def test_users_are_dirichlet(alpha):
    weights = draw_users(4000, alpha, seed=0)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert np.isfinite(weights).all()
    # E[w] = 1 / 10 and E |w|^2 = (alpha + 1) / (10 alpha + 1).
    np.testing.assert_allclose(weights.mean(0), 0.1, atol=0.03)
    np.testing.assert_allclose(
        (weights**2).sum(1).mean(), (alpha + 1) / (10 * alpha + 1), atol=0.02
    )
    with pytest.raises(ValueError, match="alpha is 0: a positive number"):
        draw_users(2, 0, seed=0)


@pytest.mark.parametrize("kind", ["best against worst", "random"])
def test_choices_are_those_of_the_weighted_sum(kind):
    rng = np.random.default_rng(0)
    scores, weights = rng.normal(size=(30, 8, 10)).astype(np.float32), draw_users(50, 0.5, seed=1)
    code = choices(scores, weights, kind, seed=2)
    assert code.shape == (50, 30)
    assert code.dtype == np.uint8
    chosen, rejected = np.divmod(code, 8)
    for user in range(50):
        for prompt in range(30):
            utility = [
                sum(weights[user, k] * scores[prompt, i, k] for k in range(10)) for i in range(8)
            ]
            a, b = chosen[user, prompt], rejected[user, prompt]
            assert a != b
            assert utility[a] >= utility[b]
            if kind == "best against worst":
                assert utility[a] == max(utility)
                assert utility[b] == min(utility)
    if kind == "random":
        counts = np.bincount(np.concatenate([chosen.ravel(), rejected.ravel()]), minlength=8)
        assert counts.min() > 0.7 * counts.mean()
    with pytest.raises(ValueError, match="kind is 'worst'"):
        choices(scores, weights, "worst", seed=0)


def test_1000_users_on_all_prompts_are_ten_megabytes():
    scores = np.zeros((10_402, 8, 2), np.float32)
    assert (
        choices(scores[:40], draw_users(1000, 0.1, seed=0, models=2), "random", seed=0).nbytes
        * 10_402
        / 40
        < 11e6
    )


def test_ties_and_equal_texts_are_no_pairs():
    row = np.arange(16, dtype=np.int32).reshape(2, 8)
    scores = np.zeros((2, 8, 1), np.float32)
    scores[1, 3], scores[1, 5] = 1.0, -1.0
    chosen, rejected, user, prompt = draw_pairs(
        row, scores, np.ones((3, 1)), None, "best against worst", seed=0
    )
    assert chosen.tolist() == [11] * 3
    assert rejected.tolist() == [13] * 3
    assert (user.tolist(), prompt.tolist()) == ([0, 1, 2], [1, 1, 1])
    row[1, 5] = row[1, 3]
    assert not len(draw_pairs(row, scores, np.ones((3, 1)), None, "best against worst", seed=0)[0])
    with pytest.raises(ValueError, match="3 prompts a user are asked for, there are 2"):
        draw_pairs(row, scores, np.ones((3, 1)), 3, "random", seed=0)


def test_each_user_has_prompts_of_their_own():
    rng = np.random.default_rng(0)
    row, scores = np.arange(400, dtype=np.int32).reshape(50, 8), rng.normal(size=(50, 8, 10))
    _, _, user, prompt = draw_pairs(row, scores, draw_users(20, 1.0, seed=0), 9, "random", seed=0)
    drawn = [prompt[user == number] for number in range(20)]
    assert all(len(set(prompts.tolist())) == 9 for prompts in drawn)
    assert len({tuple(prompts) for prompts in drawn}) == 20
