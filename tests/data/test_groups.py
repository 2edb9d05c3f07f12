"""What is one group: prompts, prompts that are linked, responses, of everybody or of each user."""

import numpy as np
import pytest
from sparse_shapes import own_prompts, raters, workers
from split_data import one_prompt

from lore_jax.data.groups import WAYS, Way, describe_groups, find_groups, has_groups, way_of
from lore_jax.data.preferences import from_arrays

# Prompts 0 and 2 share response 1; prompt 1 has responses of its own. Users 0 and 1.
LINKED = from_arrays(
    np.ones((6, 1), np.float32),
    chosen=[0, 2, 1, 4],
    rejected=[1, 3, 5, 1],
    user=[0, 0, 0, 1],
    prompt=[0, 1, 2, 2],
)


@pytest.mark.parametrize(
    ("way", "own", "index", "owner"),
    [
        (Way("prompt"), False, [[0], [1], [2], [2]], [0, 0, 0]),
        (Way("prompt", linked=True), False, [[0], [1], [0], [0]], [0, 0]),
        (Way("prompt", linked=True), True, [[0], [1], [0], [2]], [0, 0, 1]),
        (Way("response"), False, [[0, 1], [2, 3], [1, 5], [4, 1]], [0] * 6),
        (Way("response"), True, [[0, 1], [2, 3], [1, 4], [6, 5]], [0] * 5 + [1] * 2),
    ],
)
def test_groups_of_a_few_pairs(way, own, index, owner):
    groups = find_groups(LINKED, way, own=own)
    assert groups.index.tolist() == index
    assert groups.owner.tolist() == owner
    assert groups.count == len(owner)


def test_the_largest_group_is_a_share_of_the_pairs():
    assert find_groups(LINKED, Way("prompt", linked=True), own=False).largest == 0.75


def test_explicit_names_are_ways():
    assert (way_of("prompt"), way_of("response")) == (Way("prompt"), Way("response"))
    assert way_of(WAYS[-1]) is WAYS[-1]
    with pytest.raises(ValueError, match="group_by is 'topic': 'prompt' or 'response' is expected"):
        way_of("topic")


@pytest.mark.parametrize(
    ("way", "own", "message"),
    [
        (Way("prompt"), False, "there are not 2 prompts .* group_by='response'"),
        (Way("prompt", linked=True), True, "no user has 2 prompts without a common response"),
    ],
)
def test_one_group_has_no_two_sides(way, own, message):
    with pytest.raises(ValueError, match=message):
        find_groups(one_prompt(0), way, own=own)


@pytest.mark.parametrize(
    ("prefs", "way", "text"),
    [
        (own_prompts(users=3, prompts=5), WAYS[0], "prompts"),
        (LINKED, WAYS[0], "prompts (3, in 2 groups without a common response)"),
        (LINKED, Way("prompt"), "prompts"),
        (raters(users=5, texts=80), WAYS[-1], "responses (all pairs answer 1 prompt)"),
        (
            workers(users=60, pairs=1500, texts=160),
            WAYS[-1],
            "responses (of 16 prompts, in 16 groups without a common response)",
        ),
    ],
)
def test_groups_in_words(prefs, way, text):
    assert describe_groups(prefs, way) == text


@pytest.mark.parametrize(
    ("prefs", "way", "own", "expected"),
    [
        (own_prompts(users=5, prompts=4), WAYS[0], False, True),
        (own_prompts(users=4, prompts=4), WAYS[0], False, False),  # 16 prompts
        (raters(users=5, texts=80), WAYS[0], False, False),  # 1 prompt
        (LINKED, WAYS[0], False, False),
        (own_prompts(users=4, prompts=4), WAYS[0], True, True),
        (own_prompts(users=30, prompts=1), WAYS[0], True, False),  # 1 prompt of each user
    ],
)
def test_whether_there_are_groups_enough(prefs, way, own, expected):
    assert has_groups(prefs, way, 20, own=own) == expected
