"""A predictor made of functions, for tests of whoever evaluates one."""

import dataclasses
from collections.abc import Callable

from lore_jax.data.preferences import Preferences
from lore_jax.users.predict import Margins

Scorer = Callable[[Preferences, Preferences], Margins]


@dataclasses.dataclass
class Scored:
    """Margins from shots and test pairs; users of the fit as the others, unless said."""

    adapted: Scorer
    fitted: Scorer | None = None

    def __post_init__(self):
        self.fitted = self.fitted or self.adapted
