"""What predictors share that are no model with a basis: they cannot be saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NoReturn


class Unsaved:
    """The half of the contract of a predictor that refuses to be saved."""

    def save(
        self, path: str | os.PathLike[str], *, encoder: Mapping[str, object] | None = None
    ) -> NoReturn:
        """Refuses.

        Raises:
            ValueError: always; nothing is written.
        """
        raise ValueError(
            f"a {type(self).__name__} cannot be saved in {os.fspath(path)}: only models with a "
            "basis can; fit it again from its configuration"
        )
