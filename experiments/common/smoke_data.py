"""Small synthetic files of the published schemas, for --smoke and the tests.

Two groups of people: one likes the long replies, the other the short ones, with exceptions. Every
text is written here, and means nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lore_jax.datasets.personalllm import REPLIES, REWARD_MODELS

_THINGS = ("rain", "bread", "chess", "trains", "maps", "bees", "tides", "salt")


def reply(rng: np.random.Generator, number: int) -> tuple[str, str]:
    """A short and a long reply, both new."""
    thing = _THINGS[number % len(_THINGS)]
    return (
        f"Short {number}: {thing}.",
        f"Long {number}: {thing}" + f" and {_THINGS[int(rng.integers(8))]}" * 3 + ".",
    )


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_reddit_tldr(
    folder: Path, *, workers: int = 12, train: int = 24, validation: int = 12
) -> None:
    """`comparisons` as first published: an object a line, batches with rows of both splits."""
    rng, rows, number = np.random.default_rng(0), [], 0
    for split, posts in (("train", train), ("valid1", validation)):
        for post in range(posts):
            text = f"A post of {split}, number {post}, on {_THINGS[post % 8]}."
            for worker in range(workers):
                number += 1
                pair = reply(rng, number)
                likes_long = (worker + (rng.random() < 0.1)) % 2
                flip = int(rng.integers(2))
                rows.append(
                    {
                        "info": {
                            "id": f"t3_{split}{post}",
                            "post": text,
                            "title": "A title",
                            "subreddit": "AskReddit",
                        },
                        "summaries": [
                            {"text": f" {pair[i ^ flip]}", "policy": "sup1", "note": ""}
                            for i in (0, 1)
                        ],
                        "choice": int(likes_long) ^ flip,
                        "worker": f"worker{worker}",
                        "batch": "batch3",
                        "split": split,
                        "extra": {"confidence": int(rng.integers(1, 10))},
                    }
                )
    news = {**rows[0], "info": {"id": "cnn1", "post": None, "article": "News."}}
    write_jsonl(folder / "comparisons" / "batch3.json", [*rows, news])


def write_prism(folder: Path, *, users: int = 14, dialogues: int = 6) -> None:
    """`survey.jsonl` and `conversations.jsonl`."""
    rng, rows, number = np.random.default_rng(1), [], 0
    for user in range(users):
        for dialogue in range(dialogues):
            history = []
            for turn in range(2):
                text = f"Question {user}-{dialogue}-{turn} about {_THINGS[(user + dialogue) % 8]}?"
                history.append({"turn": turn, "role": "user", "content": text})
                replies = []
                for _ in range(2 if turn else 1):
                    number += 1
                    replies += reply(rng, number)
                best = int(rng.integers(len(replies) // 2)) * 2 + (user + (rng.random() < 0.1)) % 2
                for index, content in enumerate(replies):
                    history.append(
                        {
                            "turn": turn,
                            "role": "model",
                            "content": content,
                            "model_name": "model",
                            "model_provider": "nobody",
                            "score": 80 if index == best else 20 + index,
                            "if_chosen": index == best,
                            "within_turn_id": index,
                        }
                    )
            rows.append(
                {
                    "conversation_id": f"c{user}-{dialogue}",
                    "user_id": f"user{user}",
                    "conversation_type": "unguided",
                    "opening_prompt": history[0]["content"],
                    "conversation_turns": 2,
                    "conversation_history": history,
                }
            )
    write_jsonl(folder / "conversations.jsonl", rows)
    survey = [
        {
            "user_id": f"user{user}",
            "age": "25-34 years old",
            "gender": ("Female", "Male")[user % 2],
            "location": {"reside_region": "Europe"},
        }
        for user in range(users)
    ]
    write_jsonl(folder / "survey.jsonl", survey)


def write_personalllm(folder: Path, *, train: int = 40, test: int = 8) -> None:
    """`data/train-00000-of-00001.parquet` and the same for the test."""
    import pyarrow
    import pyarrow.parquet

    rng, number = np.random.default_rng(2), 0
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, prompts in (("train", train), ("test", test)):
        rows = []
        for prompt in range(prompts):
            row: dict[str, object] = {
                "prompt": f"A {split} prompt, number {prompt}?",
                "subset": "synthetic",
                "prompt_id": prompt,
            }
            for index in range(1, REPLIES + 1):
                number += 1
                row[f"response_{index}"] = reply(rng, number)[index % 2]
                row[f"response_{index}_model"] = f"model {index}"
                for column, model in enumerate(REWARD_MODELS):
                    sign = 1.0 if column % 2 else -1.0
                    mean = sign * (index % 2) * (1 + column)
                    row[f"response_{index}_{model}"] = mean + rng.normal()
            rows.append(row)
        file = folder / "data" / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def write_community_alignment(folder: Path, *, annotators: int = 6, conversations: int = 4) -> None:
    """`community_alignment.csv`: up to two turns of four replies, some of them missing."""
    rng, rows, number = np.random.default_rng(3), [], 0
    for annotator in range(annotators):
        for conversation in range(conversations):
            row: dict[str, object] = {
                "conversation_id": f"{annotator}-{conversation}",
                "assigned_lang": ("en", "fr")[annotator % 2],
                "annotator_id": f"annotator{annotator}",
                "annotator_age": "18-30",
                "annotator_country": "us",
            }
            for turn, name in enumerate(("first", "second", "third", "fourth")):
                has_turn = turn <= conversation % 2
                prompt = (
                    f"Shared prompt {conversation}"
                    if turn == 0
                    else f"Then, {annotator}-{conversation}?"
                )
                row[f"{name}_turn_prompt"] = prompt if has_turn else ""
                for letter in "abcd":
                    number += 1
                    text = reply(rng, number)[int(letter in "bd")]
                    row[f"{name}_turn_response_{letter}"] = (
                        f"{text}<|end_of_text|>" if has_turn else ""
                    )
                row[f"{name}_turn_preferred_response"] = (
                    f"response_{'ab'[annotator % 2]}" if has_turn else ""
                )
            rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "community_alignment.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_reward_bench(folder: Path, *, prompts: int = 6) -> None:
    """Rows of RewardBench 2: one correct reply of four, and Ties with two correct ones of five."""
    rng, rows, number = np.random.default_rng(4), [], 0
    for subset, correct in (("Factuality", 1), ("Math", 1), ("Ties", 2)):
        for prompt in range(prompts):
            texts = []
            for _ in range(correct + 3):
                number += 1
                texts.append(reply(rng, number)[number % 2])
            rows.append(
                {
                    "id": f"{subset}-{prompt}",
                    "prompt": f"{subset} question {prompt}?",
                    "chosen": texts[:correct],
                    "rejected": texts[correct:],
                    "subset": subset,
                }
            )
    write_jsonl(folder / "data" / "test.jsonl", rows)
