"""A learning curve: every user in one quarter and one half, tested on what the whole fit is."""

import jax
import numpy as np
import pytest

from lore_jax.data.four_way import four_way
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.learning_curve import learning_curve
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit_predictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig

SMALL = SyntheticConfig(
    num_users=30, num_prompts=30, responses_per_prompt=3, pairs_per_user=(12, 12), dim=6, rank=2
)
CONFIG = FitConfig(BradleyTerryConfig(ridge=1.0))


def test_rows_are_those_of_fits_of_parts_of_the_users():
    split = four_way(synthetic(SMALL, seed=0).prefs, group_by="prompt", seed=0)
    condition = Condition("unseen", "new items", split.shots, split.tests["unseen", "new items"])
    rows = learning_curve(
        split.train, CONFIG, condition, method="m", shots=5, seed=3, key=jax.random.key(0)
    )
    assert [(row["parts"], row["draw"]) for row in rows] == [
        *((4, draw) for draw in range(4)),
        *((2, draw) for draw in range(2)),
    ]
    for parts in (4, 2):
        fitted = [row["fitted_users"] for row in rows if row["parts"] == parts]
        assert sum(fitted) == split.train.num_users
        assert max(fitted) - min(fitted) <= 1
    # The last half, by hand.
    users = np.array_split(np.random.default_rng(3).permutation(split.train.num_users), 2)[1]
    predictor, _ = fit_predictor(split.train.take_users(users), CONFIG, key=jax.random.key(0))
    (row, *_) = evaluate({"m": predictor}, [condition], shots=(5,), seed=3)
    assert rows[-1]["log_loss"] == pytest.approx(row["log_loss"], rel=1e-5)
    assert rows[-1]["shots"] == 5
    assert rows[-1]["control"] is None
    few = split.train.take_users(np.arange(11))
    with pytest.raises(ValueError, match="11 users in the fit: a learning curve needs 12"):
        learning_curve(few, CONFIG, condition, method="m", shots=5, seed=0, key=jax.random.key(0))
