"""Results with rows of answers, as JSON holds them: after 20 answers each is worth .2 nats more."""

from lore_jax.evaluation.results import describe_split, make_results


def answer_results():
    """Six users, two kinds of rows, before and after 20 answers."""
    entry = describe_split(
        {"seen": [], "unseen": range(6)}, items=["new items"], group_by="prompt", digest=""
    )
    rows = []
    for kind, accuracy in (("ratings 1-5", 0.4), ("all answers", float("nan"))):
        for shots, loss in ((0, 1.5), (20, 1.3)):
            per_user = [loss + 0.01 * user * (1 + (shots > 0)) for user in range(6)]
            mean = sum(per_user) / 6
            none = {"bucket": [0, 1], "log_loss": [0.0, 0.0]}
            rows.append(
                {
                    "data": "",
                    "split": 0,
                    "users": "unseen",
                    "items": "new items",
                    "method": "gaussian",
                    "control": None,
                    "shots": shots,
                    "kind": kind,
                    "num_users": 6,
                    "num_answers": 60,
                    "log_loss": mean,
                    "uninformed": 1.6,
                    "accuracy": accuracy,
                    "calibration": accuracy / 10,
                    "calibration_bias": accuracy / 20,
                    "per_user": {"log_loss": [value - 0.025 * (shots > 0) for value in per_user]},
                    "per_item": none,
                    "per_cell": none,
                }
            )
    return make_results([], [entry], name="answers", config={}, seed=0, answers=rows)
