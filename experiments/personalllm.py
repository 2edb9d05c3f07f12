"""PersonalLLM: simulated users weigh ten reward models; what do a few comparisons show of a user?

    python -m experiments.personalllm --data DIR --model REWARD_MODEL --out RUN [--paper]

DIR holds the published files (`namkoong-lab/PersonalLLM`: 9,402 training and 1,000 test prompts,
eight replies each, CC BY 4.0); that name instead of DIR fetches them. REWARD_MODEL is the folder of
a reward model, in the paper Skywork-Reward-Llama-3.1-8B-v0.2. Embedding 83,216 replies is most of
the work and is done once.

Users' weights ~ Dirichlet(alpha), alpha .001, .01, .1: 1,000 take part in the fit with pairs on 45
training prompts, 1,000 are adapted to from pairs on 9; all are tested on every test prompt.
Training prompts with a text of the test are dropped.

--paper: the best of eight replies against the worst by raw mixed scores, the paper's objective, no
validation. Default: two replies at random by standardised scores, which is what a system could ask
its users; ridges and rank by validation, mismatched users, donors and permuted users as controls,
shots 0 to 45.

Expected with --paper (paper, seen / unseen users): LoRe 94.3 / 93.3, 94.6 / 93.6, 96.0 / 96.1; BT
86.3 / 86.4, 87.8 / 87.2, 93.2 / 93.1; reference head 78.4 / 76.1, 78.1 / 77.8, 82.7 / 83.7. Ours:
not run here, the data are not available.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from experiments.common import command_line
from experiments.common.options import Options, data_of, describe, embedded, fits
from experiments.common.protocol import EvaluationProtocol, Split, run
from experiments.common.smoke_data import write_personalllm
from lore_jax.data.preferences import Preferences, from_arrays
from lore_jax.datasets.personalllm import (
    HOME,
    PairKind,
    PersonalLLM,
    draw_pairs,
    draw_users,
    read_personalllm,
)
from lore_jax.evaluation.schema import Results
from lore_jax.model.model import Model

PAPER = {  # seen and unseen users, %
    "alpha 0.001": {
        "reference head": (78.4, 76.1),
        "BT": (86.3, 86.4),
        "VPL": (86.4, 86.5),
        "PAL": (85.0, 86.5),
        "LoRe": (94.3, 93.3),
    },
    "alpha 0.01": {
        "reference head": (78.1, 77.8),
        "BT": (87.8, 87.2),
        "VPL": (93.9, 84.1),
        "PAL": (86.1, 87.1),
        "LoRe": (94.6, 93.6),
    },
    "alpha 0.1": {
        "reference head": (82.7, 83.7),
        "BT": (93.2, 93.1),
        "VPL": (92.0, 92.8),
        "PAL": (91.7, 91.8),
        "LoRe": (96.0, 96.1),
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Predicts the choices of simulated users who weigh ten reward models.

    Attributes:
        alphas: concentrations of the users' weights.
        users: seen users, and as many unseen ones.
        prompts: training prompts of a seen user.
        shots: training prompts of an unseen user.
    """

    alphas: tuple[float, ...] = (0.001, 0.01, 0.1)
    users: int = 1000
    prompts: int = 45
    shots: int = 9


def draw(data: PersonalLLM, prefs: Preferences, config: Config, alpha: float, seed: int) -> Split:
    """One split: new users, seen and unseen, and their pairs on training and on test prompts."""
    kind: PairKind = "best against worst" if config.paper else "random"
    scores = data.scores if config.paper else data.standardised()
    weights = draw_users(2 * config.users, alpha, seed=seed, models=scores.shape[-1])
    train, test = np.flatnonzero(~data.is_test), np.flatnonzero(data.is_test)
    shots = config.shots if config.paper else config.prompts
    groups = (slice(0, config.users), slice(config.users, None))
    wanted = [(train, config.prompts, 0), (train, shots, 1), (test, None, 0), (test, None, 1)]
    drawn = []
    for number, (prompts, per_user, group) in enumerate(wanted):
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        chosen, rejected, user, prompt = draw_pairs(
            data.row[prompts],
            scores[prompts],
            weights[groups[group]],
            per_user,
            kind,
            seed=own_seed,
        )
        count = len(prompts) if per_user is None else per_user
        ties = config.users * count - len(user)
        drawn.append((chosen, rejected, user + config.users * group, prompts[prompt], ties))
    columns = [np.concatenate(parts) for parts in zip(*(part[:4] for part in drawn), strict=True)]
    part = np.repeat(np.arange(4), [len(columns[0]) for columns in drawn])
    # The table was checked when the cache was written: a column of zeros stands for it here.
    bare = np.zeros((prefs.num_responses, 1), np.float16)
    pairs = from_arrays(bare, *columns[:3], prompt=columns[3], num_users=len(weights))
    pairs = dataclasses.replace(pairs, embeddings=prefs.embeddings, head=prefs.head)
    users = [np.arange(len(weights))[group] for group in groups]
    parts = [
        pairs.take_pairs(part[pairs.row] == number).take_users(users[wanted[number][2]])
        for number in range(4)
    ]
    # Users of other splits are other people, and the intervals must know it.
    seen, unseen = (np.array([f"{seed}-{user}" for user in numbers]) for numbers in users)
    dropped = {"pairs that are ties": sum(part[4] for part in drawn)}
    return Split(
        parts[0], parts[1], (parts[2], parts[3]), {"seen": seen, "unseen": unseen}, dropped
    )


def run_on(
    data: PersonalLLM,
    prefs: Preferences,
    config: Config,
    about: dict[str, object],
    known: Mapping[str, Model] | None = None,
) -> Results:
    """The experiment on pairs that are embedded; `known` are models to compare with."""
    numbers = {
        (task, name): value for task, methods in PAPER.items() for name, value in methods.items()
    }
    shots = (
        (0, config.shots)
        if config.paper
        else tuple(sorted({0, 5, config.shots, 20, config.prompts}))
    )
    kind = "best against worst of eight replies" if config.paper else "two replies at random"
    note = (
        f"Simulated users who weigh ten reward models; {kind}; the paper's numbers are on best "
        "against worst."
    )
    protocol = EvaluationProtocol(
        "PersonalLLM", fits(config), shots, numbers=numbers, note=note, known=known or {}
    )
    tasks = {
        f"alpha {alpha:g}": functools.partial(draw, data, prefs, config, alpha)
        for alpha in config.alphas
    }
    return run(protocol, tasks, config, about=about)


def main(config: Config) -> Results:
    """Reads, embeds, runs."""
    if config.smoke:
        config = dataclasses.replace(config, users=8, prompts=12, shots=5, alphas=(0.01,))
    data = read_personalllm(data_of(config, write_personalllm, HOME.name))
    prefs = embedded(data.pairs(), config)
    return run_on(data, prefs, config, describe(config, data.counts))


if __name__ == "__main__":
    command_line.main(main, Config)
