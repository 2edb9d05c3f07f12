"""lore_jax: a reward basis shared by everyone, a few weights for each user.

The public names, loaded on first use (PEP 562), so that importing the package costs little more than importing jax.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

_HOME = {
    "Preferences": "preferences",
    "from_arrays": "preferences",
    "from_dataframe": "preferences",
    "FitConfig": "fit_config",
    "PAPER": "fit_config",
    "PAPER_IN_BLOCKS": "fit_config",
    "RIDGE_BRADLEY_TERRY": "fit_config",
    "PopulationConfig": "population",
    "SimplexConfig": "simplex",
    "fit": "fit",
    "Model": "model",
    "rewards": "model",
    "reference_head": "model",
    "Posterior": "adapt",
    "adapt": "adapt",
    "adapt_user": "adapt",
    "population_posterior": "adapt",
    "margins": "predict",
    "predict_proba": "predict",
    "sample_weights": "predict",
    "score": "predict",
    "four_way": "four_way",
    "draw_shots": "splits",
    "load_cache": "cache",
    "CacheWriter": "cache",
    "save": "saved_model",
    "load": "saved_model",
    "export_weights": "export",
    "export_adapt": "export",
    "export_score": "export",
    "adapt_cache": "stream",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lore_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"lore_jax.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(types.ModuleType):
    """Importing the submodule `fit` would bind it over the function `fit`; public names are the functions."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, types.ModuleType) and name in _HOME):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
