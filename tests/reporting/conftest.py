"""Results of two splits of one small population, as JSON holds them."""

import json

import numpy as np
import pytest
from scored import Scored

from lore_jax.data.preferences import from_arrays
from lore_jax.evaluation.evaluate import Condition, evaluate
from lore_jax.evaluation.names import RIDGE_BT
from lore_jax.evaluation.results import describe_split, make_results
from lore_jax.users.predict import Margins

_USERS = 15


def scorer(personal):
    def score(shots, test):
        sure = shots.pairs_per_user()[test.user] if personal else 1.0
        return Margins(
            0.3 * sure * np.cos(test.row + 0.0).astype(np.float32),
            np.ones(test.num_pairs, np.float32),
        )

    return score


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(0)
    chosen = rng.integers(20, size=12 * _USERS)
    prefs = from_arrays(
        rng.normal(size=(20, 3)).astype(np.float32),
        chosen,
        (chosen + 1) % 20,
        np.repeat(np.arange(_USERS), 12),
    )
    rows, entries = [], []
    methods = {"personal": Scored(scorer(True)), RIDGE_BT: Scored(scorer(False))}
    for split in range(2):
        condition = Condition("unseen", "new items", prefs, prefs)
        rows += evaluate(methods, [condition], shots=(0, 2, 8), split=split, seed=split)
        users = {"unseen": np.arange(_USERS)}
        entries.append(
            describe_split(
                users, items=("new items",), group_by="response", digest="0", split=split
            )
        )
    axes = {
        "groups": {"seen users": rng.normal(size=(9, 3)), "unseen users": rng.normal(size=(4, 3))},
        "axes": [{"share": share, "high": [], "low": []} for share in (0.6, 0.2, 0.1)],
        "population": [0.5, -0.25, 0.0],
    }
    results = make_results(
        rows,
        entries,
        name="t",
        config={},
        seed=0,
        axes={"here": axes, "no disagreement": {"groups": {}, "axes": []}},
    )
    return json.loads(json.dumps(results))


@pytest.fixture(scope="module")
def comparison(results):
    """The same as a comparison: "personal" as the population model, one method that ran on one of
    the splits only, and one that could not run.
    """
    names = {"personal": "gaussian", RIDGE_BT: "bradley-terry"}
    made = json.loads(json.dumps(results))
    rows = [row for row in made["rows"] if row["control"] is None]
    for row in rows:
        row["method"] = names[row["method"]]
    once = [
        {**row, "method": "once"}
        for row in rows
        if row["split"] == 1 and row["method"] == "bradley-terry"
    ]
    fit = {
        "data": "",
        "items": "new items",
        "user_share": 1.0,
        "users": 40,
        "note": None,
        "parameters": 1234,
        "compile_seconds": 2.0,
        "adapt_one_ms": 1.234,
        "adapt_thousand_ms": 123.4,
    }
    failed = {"parameters": None, "seconds": None, "note": "diverged: margins are not finite"}
    fits = [
        {**fit, "split": split, "method": method, "seconds": 20.0 + 30.0 * split}
        for split in range(2)
        for method in ("gaussian", "bradley-terry", "once")
    ]
    fits[2] |= failed
    refused = {**failed, "note": "cannot run: there is no <head>"}
    fits += [{**fit, **refused, "split": split, "method": "refusing"} for split in range(2)]
    fits += [{**entry, "user_share": 0.5, "users": 20} for entry in fits]
    fewer = [row for row in rows if row["shots"] == 8]
    return made | {
        "rows": rows + once,
        "fits": fits,
        "fewer_users": {"0.5": fewer},
        "budget": 30.0,
    }
