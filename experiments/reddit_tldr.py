"""Reddit TLDR: workers compared summaries of posts; does each have a taste of their own?

    python -m experiments.reddit_tldr --data DIR --model REWARD_MODEL --out RUN [--paper]

DIR holds the comparisons of `openai/summarize_from_feedback`; that name instead of DIR fetches
them. REWARD_MODEL is the folder of a reward model, Skywork-Reward-Llama-3.1-8B-v0.2 in the paper.
Workers with 50 annotations or more, half of them seen: 100 or 150 training pairs each for the fit;
the others are adapted to from 5 to 50 pairs. The published validation posts are the test of all of
them, and training pairs with a text of the test are dropped.

--paper: the paper's objective, 20 splits of the workers, no validation. Default: the same data,
with ridges and rank chosen by validation on held-out posts, controls, and 5 splits.

Expected with --paper (paper, seen / unseen users): LoRe 65.0 / 66.2 (100 pairs), 66.2 / 66.7 (150);
BT 60.0 / 60.0, 63.2 / 64.3; reference head 56.3 / 57.3. Ours: not run here, the data are not
available.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from experiments.common import command_line
from experiments.common.options import Options, data_of, describe, embedded, fits
from experiments.common.protocol import EvaluationProtocol, Split, leak_free, run
from experiments.common.smoke_data import write_reddit_tldr
from lore_jax.data.preferences import Preferences
from lore_jax.data.splits import draw_shots, split_users
from lore_jax.datasets.leaks import Texts, number_texts
from lore_jax.datasets.reddit_tldr import HOME, read_reddit_tldr
from lore_jax.evaluation.schema import Results
from lore_jax.model.model import Model

PAPER = {  # seen and unseen users, %
    "TLDR-100": {
        "reference head": (56.3, 57.3),
        "BT": (60.0, 60.0),
        "VPL": (63.6, 62.1),
        "PAL": (64.1, 64.9),
        "LoRe": (65.0, 66.2),
    },
    "TLDR-150": {
        "reference head": (56.3, 57.3),
        "BT": (63.2, 64.3),
        "VPL": (63.4, 62.7),
        "PAL": (64.4, 63.8),
        "LoRe": (66.2, 66.7),
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Predicts which of two summaries of a post a worker prefers.

    Attributes:
        train_pairs: training pairs of a seen worker; each number is a task of its own.
        at_least: training pairs that a worker needs.
        shots: pairs that an unseen worker gives.
    """

    train_pairs: tuple[int, ...] = (100, 150)
    at_least: int = 50
    shots: tuple[int, ...] = (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50)


def draw(
    prefs: Preferences,
    is_test: np.ndarray,
    texts: Texts | None,
    config: Config,
    train_pairs: int,
    seed: int,
) -> Split:
    """One split of the workers: half of them are seen."""
    train = leak_free(texts, prefs, ~is_test, is_test)
    count, tests = (
        np.bincount(prefs.user[part], minlength=prefs.num_users) for part in (train, is_test)
    )
    enough = np.flatnonzero((count >= config.at_least) & (tests > 0))
    if len(enough) < 2:
        raise ValueError(
            f"{len(enough)} workers have {config.at_least} training pairs and a test pair: "
            "2 are expected"
        )
    seen, unseen = (enough[part] for part in split_users(len(enough), 0.5, seed=seed))
    dropped = {
        "workers with too few pairs": prefs.num_users - len(enough),
        "training pairs with a text of the test": int((~is_test).sum() - train.sum()),
    }
    names = np.arange(prefs.num_users).astype(str) if prefs.user_ids is None else prefs.user_ids
    return Split(
        draw_shots(prefs.take_pairs(train).take_users(seen), train_pairs, seed=seed),
        prefs.take_pairs(train).take_users(unseen),
        (prefs.take_pairs(is_test).take_users(seen), prefs.take_pairs(is_test).take_users(unseen)),
        {"seen": names[seen], "unseen": names[unseen]},
        dropped,
    )


def run_on(
    prefs: Preferences,
    is_test: np.ndarray,
    texts: Texts | None,
    config: Config,
    about: dict[str, object],
    known: Mapping[str, Model] | None = None,
) -> Results:
    """The experiment on pairs that are embedded.

    Args:
        prefs: the pairs.
        is_test: which of them are of the validation posts, `[pairs]`.
        texts: of the responses, to keep training and test apart; None: there are none.
        config: of the experiment.
        about: where the data come from and what was left out.
        known: models to compare with.
    """
    numbers = {
        (task, name): value for task, methods in PAPER.items() for name, value in methods.items()
    }
    note = "Workers' choices of summaries."
    protocol = EvaluationProtocol(
        "Reddit TLDR", fits(config), config.shots, numbers=numbers, note=note, known=known or {}
    )
    each = functools.partial(draw, prefs, is_test, texts, config)
    tasks = {f"TLDR-{count}": functools.partial(each, count) for count in config.train_pairs}
    return run(protocol, tasks, config, about=about)


def main(config: Config) -> Results:
    """Reads, embeds, runs."""
    if config.smoke:
        config = dataclasses.replace(config, at_least=10, train_pairs=(16,), shots=(0, 5, 10))
    published = read_reddit_tldr(data_of(config, write_reddit_tldr, HOME.name))
    prefs = embedded(published.pairs, config)
    is_test = (published.column("split") == "validation")[prefs.row]
    about = describe(config, published.counts)
    return run_on(prefs, is_test, number_texts(published.pairs.responses), config, about)


if __name__ == "__main__":
    command_line.main(main, Config)
