"""Community Alignment: conversations of the documented schema become pairs."""

import csv

import numpy as np
import pytest

from experiments.common import smoke_data
from experiments.common.smoke_data import write_jsonl
from lore_jax.datasets.community_alignment import read_community_alignment


def write(path, rows):
    write_jsonl(path, rows)
    return path


def test_community_alignment_reads_every_turn(texts_of, tmp_path):
    smoke_data.write_community_alignment(tmp_path, annotators=4, conversations=2)
    published = read_community_alignment(tmp_path)
    assert published.counts == {"conversations": 8}
    assert len(published.pairs.user) == 4 * (
        3 + 6
    )  # three pairs a turn; every second conversation has two turns
    assert set(published.column("turn")) == {0, 1}
    prompt, chosen, rejected = texts_of(published, 3)
    assert prompt == ["Shared prompt 1"]
    assert "<|end_of_text|>" not in chosen + rejected
    opening = published.pairs.prompt.reshape(4, 9)
    np.testing.assert_array_equal(
        opening, opening[:1].repeat(4, 0)
    )  # shared by the annotators: what splits must not cut
    assert published.users["annotator1"]["annotator_country"] == "us"
    assert read_community_alignment(tmp_path, language="fr").counts == {
        "conversations in other languages": 4,
        "conversations": 4,
    }


def test_community_alignment_keeps_choices_as_they_were_said(tmp_path):
    smoke_data.write_community_alignment(tmp_path, annotators=4, conversations=2)
    pairs = read_community_alignment(tmp_path).pairs
    (said,) = pairs.answers
    assert pairs.note.startswith("12 choices of 4 of 4 users on ")
    assert pairs.note.endswith(" became 36 pairs.")
    # The first response of a choice is the chosen one of its three pairs, in the same order.
    np.testing.assert_array_equal(said.items[:, 0].repeat(3), pairs.chosen)
    np.testing.assert_array_equal(said.items[:, 1:].reshape(-1), pairs.rejected)
    np.testing.assert_array_equal(said.user.repeat(3), pairs.user)
    np.testing.assert_array_equal(said.prompt.repeat(3), pairs.prompt)


def test_community_alignment_prefers_the_filtered_file_and_counts_what_is_missing(tmp_path):
    smoke_data.write_community_alignment(tmp_path, annotators=2, conversations=1)
    file = tmp_path / "community_alignment.csv"
    with open(file, newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[1] |= {"first_turn_response_b": "", "first_turn_preferred_response": "response_b"}
    for name, part in (
        ("filtered_community_alignment.csv", [*rows, rows[0]]),
        ("full_community_alignment.csv", rows * 3),
    ):
        with open(tmp_path / name, "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    assert read_community_alignment(tmp_path).counts == {
        "conversations": 2,
        "conversations dropped: duplicated": 1,
        "conversations cut: a turn without a prompt or a preferred reply": 1,
    }
    rows[0]["first_turn_preferred_response"] = "response_e"
    write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(
        ValueError, match="first_turn_preferred_response is 'response_e': response_a to response_d"
    ):
        read_community_alignment(tmp_path / "rows.jsonl")
