"""What is said of a split, on splits that lose little, much, and too much."""

import pytest
from sparse_shapes import own_prompts, raters

from lore_jax.data.four_way import four_way
from lore_jax.data.summary import summary

FEW = "unseen users are too few to tell"
ONLY = "users have the pairs on both sides"


@pytest.mark.parametrize(
    ("prefs", "options", "line", "more"),
    [
        (
            own_prompts(users=80, prompts=20),
            {},
            "groups: prompts; 80 of 80 users kept, with 1,600 pairs",
            [],
        ),
        (
            own_prompts(users=12, prompts=30),
            {},
            "groups: prompts; 12 of 12 users kept, with 360 pairs",
            [FEW],
        ),
        (
            raters(users=100, texts=600),
            {},
            "groups: responses (all pairs answer 1 prompt); 1,",
            [],
        ),
        (own_prompts(users=100, prompts=3), {"min_test": 2}, "groups: prompts; ", [ONLY, FEW]),
        (
            raters(users=100, texts=600),
            {"items": ("known items",)},
            " test pairs are not known to the fit and dropped; 100 of 100 users kept",
            [],
        ),
    ],
    ids=["nothing is lost", "few users", "votes", "most users are lost", "known items"],
)
def test_lines(prefs, options, line, more):
    first, *rest = summary(four_way(prefs, **options, seed=0))
    assert line in first
    assert len(rest) == len(more)
    assert all(text in said for text, said in zip(more, rest, strict=True))
    assert "\n" not in first
