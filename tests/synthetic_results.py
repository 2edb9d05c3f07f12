"""Small preferences, a scorer without a model, and results whose per-user values are drawn."""

import numpy as np

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.influences import buckets_of, pair_influences
from lore_jax.evaluation.metrics import per_user_mean
from lore_jax.evaluation.names import DONOR, MISMATCHED_USER
from lore_jax.evaluation.results import describe_split, make_results
from lore_jax.users.predict import Margins

USERS, RESPONSES = 9, 30


def preferences(seed, users=USERS, pairs=None):
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 8, users) if pairs is None else np.full(users, pairs)
    user = np.repeat(np.arange(users), count)
    chosen = rng.integers(RESPONSES, size=len(user))
    # Three responses a prompt.
    rejected = chosen // 3 * 3 + (chosen + rng.integers(1, 3, size=len(user))) % 3
    table = rng.normal(size=(RESPONSES, 3)).astype(np.float32)
    return from_arrays(table, chosen, rejected, user, prompt=chosen // 3, num_users=users)


def by_shots(shots, test):
    """A scorer without a model: a user's margins depend on the rows of the user's own shots."""
    taste = np.bincount(shots.user, shots.chosen - shots.rejected, minlength=shots.num_users)
    value = np.sin(np.arange(RESPONSES))
    mean = (value[test.chosen] - value[test.rejected]) * (1.0 + taste[test.user])
    return Margins(mean.astype(np.float32), np.full(test.num_pairs, 0.5, np.float32))


def split_entry(users=USERS, items=("new items",), **more):
    return describe_split(
        {"seen": np.arange(users), "unseen": np.arange(users)},
        items=items,
        group_by="prompt",
        digest="0",
        **more,
    )


def toy_results(gain, seed, *, users=60, splits=2, other=0.0, donor=0.0, pairs=20, items=2000):
    """Right answers drawn: `gain` over the population, `other` and `donor` with others' weights.

    A right answer has probability 0.7, a wrong one 0.3; users are known in all splits.
    """
    rng = np.random.default_rng(seed)
    rows, entries = [], []
    for split in range(splits):
        ids = rng.permutation(3 * users)[:users]
        entries.append(
            describe_split(
                {"unseen": ids},
                items=["new items"],
                group_by="prompt",
                digest=str(split),
                split=split,
            )
        )
        user = np.repeat(np.arange(users), pairs)
        prompt = rng.integers(items, size=len(user))
        table = np.zeros((2, 1), np.float32)
        zeros = np.zeros_like(user)
        test = from_arrays(table, zeros, zeros + 1, user, prompt=prompt, user_ids=ids)
        buckets = buckets_of(test, "prompt")
        for shots, control, mean in (
            (0, None, 0.0),
            (20, None, gain),
            (20, MISMATCHED_USER, other),
            (20, DONOR, donor),
        ):
            right = (rng.random(len(user)) < 0.65 + mean).astype(float)
            loss = -np.log(np.where(right > 0, 0.7, 0.3))
            before = loss if shots == 0 else before
            values = {"accuracy": right, "log_loss": loss, "first_step": before - loss}
            per_item, per_cell = (
                {
                    "bucket": part.bucket,
                    **{
                        name: part.add(pair_influences(value, user, users))
                        for name, value in values.items()
                    },
                }
                for part in buckets
            )
            rows.append(
                {
                    "data": "",
                    "split": split,
                    "users": "unseen",
                    "items": "new items",
                    "method": "m",
                    "control": control,
                    "shots": shots,
                    "median_shots": float(shots),
                    "num_users": users,
                    "num_pairs": len(user),
                    "better": 3,
                    "worse": 1,
                    "per_user": {
                        name: per_user_mean(value, user, users) for name, value in values.items()
                    },
                    "per_item": per_item,
                    "per_cell": per_cell,
                }
            )
    return make_results(rows, entries, name="toy", config={}, seed=seed)
