"""What a split keeps and drops, in lines for people: said before a fit, and kept with a run."""

from __future__ import annotations

from lore_jax.data.answer_split import AnswerSplit
from lore_jax.data.four_way import ENOUGH, FourWay

# Unseen users, at 20 shots and 20 test pairs each: whether a gain shows was simulated with the
# basis known, so that these numbers are upper bounds.
_FEW_USERS = 20


def summary(split: FourWay | AnswerSplit) -> list[str]:
    """What a split keeps and drops: groups, pairs and users in one line, more if they are too few.

    Of a split of answers, answers are counted.

    Example:
        >>> summary(split)[0]
        'groups: prompts; 40 of 40 users kept, with 800 pairs'
    """
    used, dropped, unit = sum(map(len, split.rows.values())), split.dropped, split.unit
    pairs = used + dropped.pairs_of_users + dropped.cross_split + dropped.not_in_fit
    unseen = len(split.unseen_users)
    users = len(split.seen_users) + unseen
    text = [f"groups: {split.groups}"]
    if dropped.cross_split:
        text.append(f"{dropped.cross_split:,} of {pairs:,} {unit} are cross-split and dropped")
    if dropped.not_in_fit:
        text.append(f"{dropped.not_in_fit:,} test {unit} are not known to the fit and dropped")
    text.append(f"{users:,} of {users + dropped.users:,} users kept, with {used:,} {unit}")
    lines = ["; ".join(text)]
    if users < ENOUGH * (users + dropped.users):
        lines.append(
            f"only {users:,} of {users + dropped.users:,} users have the {unit} on both sides that "
            "a test needs: another --split.test or --group-by may keep more, lower "
            "--split.min-train and --split.min-test do, and --split.everything fits all "
            f"{unit} without a test"
        )
    if unseen < _FEW_USERS:
        lines.append(
            f"{unseen} unseen users are too few to tell whether personalising helps: of 20 a gain "
            "of 3 points shows in one run of four, of 100 in nine of ten; more users are needed, "
            "or --split.everything, which fits all of them without a test"
        )
    return lines
