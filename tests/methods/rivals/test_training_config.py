"""Marks of a training, and settings that are refused."""

import pytest
from one_direction import STEPS, OneDirection


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0: a positive number"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0: a positive number"),
        ({"steps": 0}, "steps is 0: 1 or more"),
        ({"users_a_step": 0}, "users_a_step is 0: 1 or more"),
        ({"stop_after": STEPS + 1}, f"stop_after is {STEPS + 1}: 1 to {STEPS} is expected"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        OneDirection(**fields)


def test_marks_are_a_quarter_a_half_and_all_of_the_steps():
    assert OneDirection().marks == [2, 4, 8]
    assert OneDirection(steps=1).marks == [1]
