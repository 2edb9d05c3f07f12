"""lore_jax: a reward basis shared by everyone, a few weights for each user.

The public names, loaded on first use (PEP 562), so that importing the package costs little more
than importing jax.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what editors and type checkers read; `_HOME` says the same at run time
    from lore_jax.cli.report import report as report
    from lore_jax.data.answer_kinds import Kind as Kind
    from lore_jax.data.feedback import Feedback as Feedback
    from lore_jax.data.feedback import answers as answers
    from lore_jax.data.feedback import from_answers as from_answers
    from lore_jax.data.feedback import rankings as rankings
    from lore_jax.data.four_way import four_way as four_way
    from lore_jax.data.preferences import Preferences as Preferences
    from lore_jax.data.preferences import from_arrays as from_arrays
    from lore_jax.data.preferences import from_dataframe as from_dataframe
    from lore_jax.data.splits import draw_shots as draw_shots
    from lore_jax.embed.from_texts import from_texts as from_texts
    from lore_jax.export.adapt_cache import adapt_cache as adapt_cache
    from lore_jax.export.numpy_arrays import to_numpy as to_numpy
    from lore_jax.export.parquet import export_weights as export_weights
    from lore_jax.export.pytorch import to_torch as to_torch
    from lore_jax.export.stablehlo import export_adapt as export_adapt
    from lore_jax.export.stablehlo import export_margins as export_margins
    from lore_jax.export.stablehlo import export_score as export_score
    from lore_jax.export.stablehlo_answers import export_adapt_answers as export_adapt_answers
    from lore_jax.fitting.config import PAPER as PAPER
    from lore_jax.fitting.config import PAPER_MINIBATCH as PAPER_MINIBATCH
    from lore_jax.fitting.config import RIDGE_BRADLEY_TERRY as RIDGE_BRADLEY_TERRY
    from lore_jax.fitting.config import FitConfig as FitConfig
    from lore_jax.fitting.feedback import fit_feedback as fit_feedback
    from lore_jax.fitting.fit import fit as fit
    from lore_jax.methods.bradley_terry import BradleyTerryConfig as BradleyTerryConfig
    from lore_jax.methods.gaussian.method import PopulationConfig as PopulationConfig
    from lore_jax.methods.reference import ReferenceConfig as ReferenceConfig
    from lore_jax.methods.simplex.method import SimplexConfig as SimplexConfig
    from lore_jax.model.answer_model import AnswerModel as AnswerModel
    from lore_jax.model.answer_model import begin_answers as begin_answers
    from lore_jax.model.model import Model as Model
    from lore_jax.model.model import reference_head as reference_head
    from lore_jax.model.model import rewards as rewards
    from lore_jax.model.posterior import Posterior as Posterior
    from lore_jax.model.posterior import population_posterior as population_posterior
    from lore_jax.model.published_lore import load_published as load_published
    from lore_jax.model.saved import load as load
    from lore_jax.model.saved import save as save
    from lore_jax.runs.run import run_fit as run_fit
    from lore_jax.steering.best_of_n import BestOfN as BestOfN
    from lore_jax.steering.best_of_n import best_of_n as best_of_n
    from lore_jax.steering.dimensions import Dimension as Dimension
    from lore_jax.steering.dimensions import declare as declare
    from lore_jax.steering.dimensions import declared_basis as declared_basis
    from lore_jax.steering.groups import pick_for_group as pick_for_group
    from lore_jax.steering.relabel import relabel as relabel
    from lore_jax.steering.texts import score_texts as score_texts
    from lore_jax.steering.trl import trl_reward as trl_reward
    from lore_jax.storage.cache.answers import load_feedback as load_feedback
    from lore_jax.storage.cache.reader import load_cache as load_cache
    from lore_jax.storage.cache.writer import CacheWriter as CacheWriter
    from lore_jax.users.adapt import adapt as adapt
    from lore_jax.users.adapt import adapt_user as adapt_user
    from lore_jax.users.answer_questions import ask_answers as ask_answers
    from lore_jax.users.answer_session import AnswerSession as AnswerSession
    from lore_jax.users.answering import adapt_answers as adapt_answers
    from lore_jax.users.answering import answer_probabilities as answer_probabilities
    from lore_jax.users.candidates import candidate_pairs as candidate_pairs
    from lore_jax.users.drift import changed_at as changed_at
    from lore_jax.users.drift import choose_half_life as choose_half_life
    from lore_jax.users.drift import choose_retention as choose_retention
    from lore_jax.users.drift import detection_bound as detection_bound
    from lore_jax.users.drift import misfit as misfit
    from lore_jax.users.expected_weights import expected_weights as expected_weights
    from lore_jax.users.filtering import filter_answers as filter_answers
    from lore_jax.users.predict import margins as margins
    from lore_jax.users.predict import predict_proba as predict_proba
    from lore_jax.users.predict import sample_weights as sample_weights
    from lore_jax.users.questionnaire import questionnaire as questionnaire
    from lore_jax.users.questions import ask as ask
    from lore_jax.users.saved_answers import load_answers as load_answers
    from lore_jax.users.saved_answers import save_answers as save_answers
    from lore_jax.users.saved_session import load_session as load_session
    from lore_jax.users.saved_session import save_session as save_session
    from lore_jax.users.score import score as score
    from lore_jax.users.score import top_k as top_k
    from lore_jax.users.session import Session as Session
    from lore_jax.users.stopping import is_done as is_done
    from lore_jax.users.stopping import probability_of_best as probability_of_best

    __version__: str

_HOME = {
    "Preferences": "data.preferences",
    "from_arrays": "data.preferences",
    "from_dataframe": "data.preferences",
    "from_texts": "embed.from_texts",
    "Feedback": "data.feedback",
    "Kind": "data.answer_kinds",
    "answers": "data.feedback",
    "rankings": "data.feedback",
    "from_answers": "data.feedback",
    "four_way": "data.four_way",
    "draw_shots": "data.splits",
    "load_cache": "storage.cache.reader",
    "load_feedback": "storage.cache.answers",
    "CacheWriter": "storage.cache.writer",
    "Model": "model.model",
    "rewards": "model.model",
    "reference_head": "model.model",
    "Posterior": "model.posterior",
    "population_posterior": "model.posterior",
    "save": "model.saved",
    "load": "model.saved",
    "adapt": "users.adapt",
    "adapt_user": "users.adapt",
    "changed_at": "users.drift",
    "choose_half_life": "users.drift",
    "choose_retention": "users.drift",
    "detection_bound": "users.drift",
    "misfit": "users.drift",
    "expected_weights": "users.expected_weights",
    "filter_answers": "users.filtering",
    "margins": "users.predict",
    "predict_proba": "users.predict",
    "sample_weights": "users.predict",
    "questionnaire": "users.questionnaire",
    "ask": "users.questions",
    "ask_answers": "users.answer_questions",
    "AnswerSession": "users.answer_session",
    "AnswerModel": "model.answer_model",
    "begin_answers": "model.answer_model",
    "adapt_answers": "users.answering",
    "answer_probabilities": "users.answering",
    "load_answers": "users.saved_answers",
    "save_answers": "users.saved_answers",
    "candidate_pairs": "users.candidates",
    "score": "users.score",
    "top_k": "users.score",
    "save_session": "users.saved_session",
    "load_session": "users.saved_session",
    "Session": "users.session",
    "is_done": "users.stopping",
    "probability_of_best": "users.stopping",
    "BradleyTerryConfig": "methods.bradley_terry",
    "ReferenceConfig": "methods.reference",
    "PopulationConfig": "methods.gaussian.method",
    "SimplexConfig": "methods.simplex.method",
    "FitConfig": "fitting.config",
    "PAPER": "fitting.config",
    "PAPER_MINIBATCH": "fitting.config",
    "RIDGE_BRADLEY_TERRY": "fitting.config",
    "fit": "fitting.fit",
    "fit_feedback": "fitting.feedback",
    "export_weights": "export.parquet",
    "export_adapt": "export.stablehlo",
    "export_adapt_answers": "export.stablehlo_answers",
    "export_margins": "export.stablehlo",
    "export_score": "export.stablehlo",
    "adapt_cache": "export.adapt_cache",
    "run_fit": "runs.run",
    "report": "cli.report",
    "to_numpy": "export.numpy_arrays",
    "to_torch": "export.pytorch",
    "load_published": "model.published_lore",
    "BestOfN": "steering.best_of_n",
    "best_of_n": "steering.best_of_n",
    "Dimension": "steering.dimensions",
    "declare": "steering.dimensions",
    "declared_basis": "steering.dimensions",
    "pick_for_group": "steering.groups",
    "relabel": "steering.relabel",
    "score_texts": "steering.texts",
    "trl_reward": "steering.trl",
}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value = version("lore-jax")
    elif name in _HOME:
        from lore_jax.parallel.compilation_cache import keep_compiled_programs

        keep_compiled_programs()
        value = getattr(importlib.import_module(f"lore_jax.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'lore_jax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
