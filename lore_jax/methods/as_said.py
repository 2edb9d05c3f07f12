"""What was fitted to answers of every kind as a predictor, and predictors of pairs beside it.

Users are known by answers; the test is of strict pairs, which answers of all kinds make, so that
kinds and methods can be compared.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from lore_jax.data.feedback import Feedback
from lore_jax.data.feedback_splits import strict_pairs
from lore_jax.data.preferences import Preferences
from lore_jax.methods.base import Predictor
from lore_jax.model.answer_model import AnswerModel
from lore_jax.model.model import Model
from lore_jax.users.answering import AnswerPosterior, adapt_answers
from lore_jax.users.predict import Margins, margins


@dataclasses.dataclass(frozen=True, eq=False)
class AnswersPredictor:
    """A basis, how people answer, and posteriors of weights by answers.

    Attributes:
        model: the model.
        answers: how people answer.
        users: what is known of the users of the fit.

    Example:
        >>> how = begin_answers(feedback)
        >>> predictor = AnswersPredictor(model, how, adapt_answers(model, how, feedback))
        >>> predictor.adapted(feedback, prefs).mean.shape == (prefs.num_pairs,)
        True
    """

    model: Model
    answers: AnswerModel
    users: AnswerPosterior

    def known(self, shots: Feedback) -> AnswerPosterior:
        """What shots alone say of users, who may have given none."""
        return adapt_answers(self.model, self.answers, shots)

    def adapted(self, shots: Feedback, test: Preferences) -> Margins:
        """Margins of the test pairs of users known by their shots alone."""
        return margins(self.model, self.known(shots).users, test)

    def fitted(self, shots: Feedback, test: Preferences) -> Margins:
        """Margins of the test pairs of the users of the fit; `shots` are their training answers."""
        return margins(self.model, self.users.users, test)

    def save(
        self, path: str | os.PathLike[str], *, encoder: Mapping[str, object] | None = None
    ) -> None:
        """Saves model, answers and users, for `lore.load_answers`."""
        from lore_jax.users.saved_answers import save_answers  # Orbax is slow to import

        users = self.users
        save_answers(path, self.model, self.answers, users, encoder=encoder, overwrite=True)


@dataclasses.dataclass(frozen=True, eq=False)
class ByStrictPairs:
    """A method that knows strict pairs alone, for users who have answered otherwise.

    Attributes:
        predictor: the method, fitted to the strict pairs of the same answers.

    Example:
        >>> from lore_jax.methods.base import BasisPredictor
        >>> method = ByStrictPairs(BasisPredictor(model))
        >>> method.adapted(feedback, prefs).mean.shape == (prefs.num_pairs,)
        True
    """

    predictor: Predictor

    def adapted(self, shots: Feedback, test: Preferences) -> Margins:
        """Margins after the strict pairs that the shots make."""
        return self.predictor.adapted(strict_pairs(shots), test)

    def fitted(self, shots: Feedback, test: Preferences) -> Margins:
        """Margins of the users of the fit."""
        return self.predictor.fitted(strict_pairs(shots), test)

    def save(
        self, path: str | os.PathLike[str], *, encoder: Mapping[str, object] | None = None
    ) -> None:
        """Saves the method."""
        self.predictor.save(path, encoder=encoder)
