"""What is said of a gain over strict pairs; the rest is tested with the rows it is made of."""

import pytest

from lore_jax.evaluation.answer_gains import _statement, strict_pairs_name
from lore_jax.evaluation.intervals import Interval


@pytest.mark.parametrize(
    ("saved", "beginning"),
    [
        ((0.02, 0.01, 0.03), "Answers as they were said predict better than the strict pairs"),
        ((-0.02, -0.03, -0.01), "The strict pairs that answers make predict better"),
        ((0.02, -0.01, 0.05), "No difference shows"),
    ],
)
def test_the_interval_of_the_log_loss_decides(saved, beginning):
    text = _statement(Interval(0.012, -0.003, 0.027), Interval(*saved))
    assert text.startswith(beginning)
    assert "+1.2 points (95 % interval -0.3 to 2.7)" in text


def test_names():
    assert strict_pairs_name("gaussian") == "gaussian, strict pairs"
