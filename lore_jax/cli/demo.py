"""`lore-jax demo`: everything at once on simulated users whose ground truth is known.

Users fall into components and differ within them. The fit sees only who preferred what; users it
has never seen are adapted to from a few shots and tested on new prompts. Beside the fit stand what
it has to beat (the reference head, ridge Bradley-Terry, its own population without shots) and an
upper bound: an oracle with the basis of the ground truth.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypedDict

import jax
from tqdm import tqdm

from lore_jax.data.four_way import four_way
from lore_jax.data.splits import Holdout, draw_shots
from lore_jax.datasets.synthetic import SyntheticConfig, synthetic
from lore_jax.evaluation import names
from lore_jax.evaluation.conclusion import conclusions_of
from lore_jax.evaluation.different_picks import different_picks
from lore_jax.evaluation.disagreement import describe_axes, prompts_of_responses
from lore_jax.evaluation.evaluate import conditions, evaluate
from lore_jax.evaluation.names import (
    DONOR,
    GAUSSIAN,
    MISMATCHED_USER,
    ORACLE,
    REFERENCE_HEAD,
    RIDGE_BT,
)
from lore_jax.evaluation.results import Where, describe_split, make_results, plain, write_results
from lore_jax.evaluation.schema import Conclusion
from lore_jax.fitting.config import FitConfig
from lore_jax.fitting.fit import fit
from lore_jax.methods.base import BasisPredictor
from lore_jax.methods.bradley_terry import BradleyTerryConfig
from lore_jax.methods.gaussian.method import PopulationConfig
from lore_jax.model.model import reference_head
from lore_jax.reporting.figures import save_figures
from lore_jax.reporting.page import page
from lore_jax.reporting.tables import four_way_columns, table
from lore_jax.storage.files import write_file
from lore_jax.users.adapt import adapt

_SHOTS = (0, 5, names.SHOTS)
_LINES = {
    "reference head": Where(method=REFERENCE_HEAD, control=None),
    "ridge Bradley-Terry": Where(method=RIDGE_BT, control=None),
    "population (0 shots)": Where(method=GAUSSIAN, control=None, shots=0),
    names.CONTROL_LABELS[MISMATCHED_USER]: Where(method=GAUSSIAN, control=MISMATCHED_USER),
    names.CONTROL_LABELS[DONOR]: Where(method=GAUSSIAN, control=DONOR),
    "personal": Where(method=GAUSSIAN, control=None),
    "oracle (basis of the ground truth)": Where(method=ORACLE, control=None),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Simulates users who disagree, fits, adapts to new users, and says whether that helps.

    Attributes:
        out: folder for the results (JSON), the figures and the page.
        users: how many users; 30 % of them take no part in the fit.
        pairs: comparisons of each user; 30 % of the prompts are new in the test.
        dim: the length of an embedding.
        rank: columns of the basis in the ground truth.
        spread: how much the users of a component differ, relative to what they share.
        num_components: the number of components; 1, with spread 0: users do not differ.
        seed: seed of everything.
        ridge: ridge of the fits, in units of pairs.
    """

    out: Path = Path("lore-demo")
    users: int = 300
    pairs: int = 60
    dim: int = 32
    rank: int = 3
    spread: float = 0.5
    num_components: int = 3
    seed: int = 0
    ridge: float = 1.0  # about what validation chooses; choosing takes longer than all the rest


class Summary(TypedDict):
    """What the demo says: users seen and unseen, pairs fitted, the table, and paths of files."""

    users: dict[str, int]
    pairs: int
    table: str
    conclusion: Conclusion
    conclusions: dict[str, Conclusion]
    results: str
    figures: list[str]
    report: str


def run(config: Config) -> Summary:
    """Simulates, splits, fits, adapts and evaluates; writes one JSON, its figures and a page.

    Raises:
        ValueError: a number in `config` is not possible; the message names it.
        OSError: nothing can be written to `out`.

    Example:
        >>> print(run(Config(users=100))["table"])  # doctest: +SKIP
    """
    simulated = SyntheticConfig(
        num_users=config.users,
        num_prompts=200,
        pairs_per_user=(config.pairs, config.pairs),
        dim=config.dim,
        rank=config.rank,
        users="mixture",
        num_components=config.num_components,
        spread=config.spread,
    )
    truth = synthetic(simulated, seed=config.seed)
    items: tuple[Holdout, ...] = ("known items", "new items")
    split = four_way(truth.prefs, group_by="prompt", items=items, seed=config.seed)
    # One column for what users share, and as many as in the ground truth for how they differ.
    gaussian = PopulationConfig(
        rank=config.rank + 1,
        ridge_population=config.ridge,
        ridge_deviation=config.ridge,
        item_effects=0.0,
        item_effects_deviation=0.0,
        num_components=0,
        logit_scale=1.0,
    )
    fits = {RIDGE_BT: BradleyTerryConfig(config.ridge), GAUSSIAN: gaussian}
    config.out.mkdir(parents=True, exist_ok=True)  # once everything given is known to be possible
    assert truth.prefs.head is not None
    methods = {REFERENCE_HEAD: BasisPredictor(reference_head(truth.prefs.head))}
    fitted = {}
    for name, method in tqdm(fits.items(), desc="fit", disable=None):
        fitted[name] = fit(split.train, FitConfig(method), key=jax.random.key(config.seed))
        methods[name] = BasisPredictor(*fitted[name][:2])
    methods[ORACLE] = BasisPredictor(truth.model)
    rows = evaluate(methods, conditions(split), shots=_SHOTS, seed=config.seed)

    model, users, _ = fitted[GAUSSIAN]
    # With as many shots as in the test, in the shapes that it has compiled.
    shots = draw_shots(split.shots, names.SHOTS, seed=config.seed)
    groups = {"seen users": users, "unseen users": adapt(model, shots)}
    prompt = prompts_of_responses(truth.prefs)
    responses = truth.prefs.embeddings
    described = describe_axes(model, groups, responses, prompt=prompt)
    picks = different_picks(model, users, responses, prompt=prompt)
    axes = {"": {**described, "picks": picks}}
    entry = describe_split(
        {"seen": split.seen_users, "unseen": split.unseen_users},
        items=items,
        group_by="prompt",
        digest=split.digest,
        dropped=split.dropped._asdict(),
        chosen={name: history.choice for name, (_, _, history) in fitted.items()},
        given={"seen": split.train.pairs_per_user(), "unseen": split.shots.pairs_per_user()},
    )
    about = {"config": config, "seed": config.seed, "axes": axes, "method": GAUSSIAN}
    results = make_results(rows, [entry], name="demo", **about)
    conclusions = plain(conclusions_of(results, GAUSSIAN))
    conclusion = next(iter(conclusions.values()))  # unseen users, new items
    results["conclusion"], results["conclusions"] = conclusion, conclusions
    path = config.out / "results.json"
    write_results(path, results)
    note = "Simulated users: everything about them is known."
    figures = save_figures(results, config.out, note=note)
    html = page(results, note=note, title="Simulated users")
    write_file(config.out / "report.html", [html.encode()])
    return {
        "users": {"seen": split.train.num_users, "unseen": split.shots.num_users},
        "pairs": split.train.num_pairs,
        "table": table(results, _LINES, four_way_columns(results)),
        "conclusion": conclusion,
        "conclusions": conclusions,
        "results": str(path),
        "figures": [str(path) for path in figures],
        "report": str(config.out / "report.html"),
    }


def lines(result: Summary) -> list[str]:
    """The result for people."""
    users = result["users"]
    return [
        f"Fitted {result['pairs']:,} pairs of {users['seen']:,} simulated users; "
        f"{users['unseen']:,} more are adapted to.",
        "Accuracy in %, macro over users (95 % interval):",
        "",
        *result["table"].splitlines(),
        "",
        *(
            f"{label}: {conclusion['statement']}."
            for label, conclusion in result["conclusions"].items()
        ),
        "",
        f"Saved {result['results']}",
        *(f"Saved {path}" for path in result["figures"]),
        f"Saved {result['report']}, a page to read",
    ]
