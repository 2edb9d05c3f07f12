"""Do intervals of margins hold on new responses, the basis learned and everything chosen by `fit`?

    python -m experiments.basis_coverage --out RUN

A basis of three directions and users around a population are simulated (`datasets.synthetic`). The
model is fitted on the choices of 200 users of 30 pairs, 200 other users give 20 shots, and their
margins on 20 pairs of responses that nobody judged are compared with the true ones. What the model
has to know of a new response is the population's direction and the users' deviations along it; with
fewer responses than dimensions, much of both cannot be known.

Each line of the table: responses in the fit and length of their embeddings, how fast the spectrum
of embeddings decays (0: all directions alike); the share of true margins inside the 90 % interval,
with the uncertainty of the basis and without; how many margins are decided (the interval leaves out
0), and the share of those whose sign is right; accuracy, beside that of the oracle who knows basis
and population; log loss.

Time: about ten minutes of two cores, much of it compiling.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

import lore_jax as lore
from experiments.common import command_line
from experiments.common.fits import population_model
from lore_jax.datasets.synthetic import Synthetic, SyntheticConfig, synthetic
from lore_jax.parallel.compiled_programs import drop_programs_if_many
from lore_jax.reporting.tables import markdown
from lore_jax.storage.files import write_file
from lore_jax.users.predict import Margins


class Setting(NamedTuple):
    """A size of the table.

    Attributes:
        responses: in the fit.
        dim: length of an embedding.
        exponent: decay of the spectrum of embeddings.
    """

    responses: int
    dim: int
    exponent: float


SETTINGS = (
    Setting(80, 16, 0.0),
    Setting(80, 128, 0.0),
    Setting(200, 384, 1.0),
    Setting(400, 16, 0.0),
    Setting(400, 128, 0.5),
    Setting(2000, 384, 1.0),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Counts how many 90 % intervals of margins on new responses hold the true margin.

    Attributes:
        out: where to write.
        seeds: populations of each size.
        users: seen users, and as many unseen ones.
        pairs: of a seen user.
        shots: of an unseen user.
        tests: pairs of new responses of an unseen user.
        smoke: one population of the two smallest sizes, nothing chosen on validation, to see that
            everything runs.
    """

    out: Path
    seeds: int = 3
    users: int = 200
    pairs: int = 30
    shots: int = 20
    tests: int = 20
    smoke: bool = False


class Data(NamedTuple):
    """The pairs of a population.

    Attributes:
        truth: what was simulated.
        train: pairs of the seen users; the table holds the responses of the fit alone.
        shots: of the unseen users, on the same responses.
        test: of the unseen users, on new responses.
        margins: the true ones of the test pairs.
    """

    truth: Synthetic
    train: lore.Preferences
    shots: lore.Preferences
    test: lore.Preferences
    margins: Float[np.ndarray, " pairs"]


def simulate(config: Config, setting: Setting, *, seed: int) -> Data:
    """A population, and pairs on the responses of the fit and on 400 new ones; prompts of four."""
    known, prompts = setting.responses // 4, setting.responses // 4 + 100
    pairs = int(2.2 * max(config.pairs, config.shots) * prompts / known) + 3 * config.tests
    truth = synthetic(
        SyntheticConfig(
            num_users=2 * config.users,
            num_prompts=prompts,
            responses_per_prompt=4,
            pairs_per_user=(pairs, pairs),
            dim=setting.dim,
            rank=3,
            noise=0.5,
            exponent=setting.exponent,
        ),
        seed=seed,
    )
    is_known = truth.prefs.prompt < known
    of_fit, new = truth.prefs.take_pairs(is_known), truth.prefs.take_pairs(~is_known)
    table = np.asarray(truth.prefs.embeddings)
    of_fit = dataclasses.replace(of_fit, embeddings=table[: 4 * known].copy())
    seen, unseen = np.arange(config.users), np.arange(config.users, 2 * config.users)
    test = lore.draw_shots(new.take_users(unseen), config.tests, seed=seed)
    rewards = table @ truth.basis
    weights = truth.weights[unseen][test.user]
    return Data(
        truth,
        lore.draw_shots(of_fit.take_users(seen), config.pairs, seed=seed),
        lore.draw_shots(of_fit.take_users(unseen), config.shots, seed=seed),
        test,
        np.sum(weights * (rewards[test.chosen] - rewards[test.rejected]), axis=1),
    )


def measure(config: Config, setting: Setting, *, seed: int) -> dict[str, Any]:
    """One population: fit, adapt, and the intervals beside the truth."""
    data = simulate(config, setting, seed=seed)
    fit = population_model(group_by=None, smoke=config.smoke)
    model, _, history = lore.fit(data.train, fit, key=jax.random.key(seed))
    posterior = lore.adapt(model, data.shots)
    found = lore.margins(model, posterior, data.test)
    as_known = lore.margins(dataclasses.replace(model, basis_posterior=None), posterior, data.test)
    oracle = lore.margins(data.truth.model, lore.adapt(data.truth.model, data.shots), data.test)
    decided = found.decided()
    right = np.sign(found.mean) == np.sign(data.margins)
    return {
        **setting._asdict(),
        "seed": seed,
        "choice": history.choice,
        "held": held(found, data.margins),
        "held, basis as known": held(as_known, data.margins),
        "decided": float(decided.mean()),
        "sign right": float(right[decided].mean()) if decided.any() else None,
        "accuracy": float((found.mean > 0).mean()),
        "oracle's accuracy": float((oracle.mean > 0).mean()),
        "log loss": float(-found.log_probability.mean()),
        "oracle's log loss": float(-oracle.log_probability.mean()),
    }


def held(found: Margins, truth: Float[np.ndarray, " pairs"]) -> float:
    """The share of true margins inside the 90 % interval."""
    low, high = found.interval(0.9)
    return float(((low <= truth) & (truth <= high)).mean())


def run(config: Config) -> dict[str, Any]:
    """Measures every size, writes the numbers and prints the table."""
    settings = SETTINGS[:2] if config.smoke else SETTINGS
    seeds = 1 if config.smoke else config.seeds
    runs = [(setting, seed) for setting in settings for seed in range(seeds)]
    rows = []
    for setting, seed in tqdm(runs, desc="sizes x seeds", disable=None):
        drop_programs_if_many()
        rows.append(measure(config, setting, seed=seed))
    average = float(np.mean([row["held"] for row in rows]))
    result = {"measured": rows, "held on the average": average}
    config.out.mkdir(parents=True, exist_ok=True)
    write_file(config.out / "basis_coverage.json", [json.dumps(result, indent=1).encode()])
    print(f"{table(rows)}\n\n{100 * average:.1f} % held on the average")
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """The measurements, in Markdown; shares in %."""
    shares = ("held", "held, basis as known", "decided", "sign right", "accuracy")
    head = ["responses", "dim", "exponent", *shares, "oracle's accuracy", "log loss", "oracle's"]
    lines = [head]
    for row in rows:
        cells = [row[name] for name in (*shares, "oracle's accuracy")]
        lines.append(
            [
                *(f"{row[name]:g}" for name in ("responses", "dim", "exponent")),
                *("" if cell is None else f"{100 * cell:.1f}" for cell in cells),
                *(f"{row[name]:.3f}" for name in ("log loss", "oracle's log loss")),
            ]
        )
    return markdown(lines)


if __name__ == "__main__":
    command_line.main(run, Config)
