"""The model's own tokenizer and chat template; the only file that imports transformers."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from jaxtyping import Int

# Some templates print today's date into the system turn (Llama 3.2, Mistral). The same text must
# have the same embedding on every day, so all templates get this date, which Llama 3.1's prints by
# itself: as `date_string`, which the Llama 3 family asks for first, and by a macro that replaces
# the function from which the others take the time.
_DATE = datetime.datetime(2024, 7, 26)
_FIXED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{code}', '{_DATE.strftime('%' + code)}')" for code in "aAbBdHIjmMpSyY")
    + " }}{% endmacro %}"
)


@dataclasses.dataclass(frozen=True, eq=False)
class TextTokenizer:
    """The tokenizer and the chat template of a Hugging Face folder.

    Attributes:
        hugging_face: the fast tokenizer of transformers.
        special_tokens: number and text of the control tokens, recognised anywhere in a text.
        chat_template: how a conversation is written for the model, or None.
    """

    hugging_face: Any
    special_tokens: Mapping[int, str]
    chat_template: str | None

    @property
    def template_sha256(self) -> str | None:
        """The digest of the chat template and of the date it prints, or None."""
        if self.chat_template is None:
            return None
        return hashlib.sha256(f"{_DATE.isoformat()}\n{self.chat_template}".encode()).hexdigest()

    def render_chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A conversation as the chat template writes it.

        Raises:
            ValueError: the template refuses it (Gemma's, for one, knows no system turn).
        """
        import jinja2

        try:
            return self.hugging_face.apply_chat_template(
                list(messages),
                chat_template=f"{_FIXED_CLOCK}{self.chat_template}",
                tokenize=False,
                date_string=_DATE.strftime("%d %b %Y"),
            )
        except jinja2.TemplateError as error:
            problem = "the model's chat template refuses the conversation"
            raise ValueError(f"{problem}: {error}") from None
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError) as error:
            reason = f"{type(error).__name__}, {error}"
            raise ValueError(f"the model's chat template fails: {reason}") from None

    def token_ids(
        self, texts: Sequence[str], *, add_special_tokens: bool
    ) -> list[Int[np.ndarray, " _"]]:
        """The tokens of each text, never cut; rendered conversations have the special ones."""
        if not texts:
            return []
        encoded = self.hugging_face(
            list(texts),
            add_special_tokens=add_special_tokens,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        try:
            return [np.array(ids, np.int32) for ids in encoded["input_ids"]]
        except OverflowError:
            largest = max(map(max, encoded["input_ids"]))
            raise ValueError(f"the tokenizer gives token {largest}, beyond all models") from None

    def token_starts(self, text: str) -> list[int]:
        """The character of the text at which each of its tokens begins."""
        encoded = self.hugging_face(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return [start for start, _ in encoded["offset_mapping"]]


@contextlib.contextmanager
def few_steps(most: int = 1_000_000) -> Iterator[None]:
    """Ends what takes more than so many lines of Python: a template is a program of others.

    The sandbox that renders templates limits one loop, not loops within loops.

    Raises:
        ValueError: it takes more.
    """
    steps, before = 0, sys.gettrace()

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        if steps > most:
            raise ValueError(f"the model's chat template does not end within {most:,} steps")
        return count

    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Mutes log records up to WARNING, and warnings, while a library is imported.

    transformers advises at its import to install PyTorch, which only its models need.

    Example:
        >>> with quiet_import():  # doctest: +SKIP
        ...     import transformers
    """
    level = logging.root.manager.disable
    logging.disable(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def load_tokenizer(folder: Path) -> TextTokenizer:
    """Loads the tokenizer of a model's folder; code in the folder is never run.

    Raises:
        FileNotFoundError: there is no tokenizer.json.
        ValueError: it cannot be read.

    Example:
        >>> tokenizer = load_tokenizer(Path("all-MiniLM-L6-v2"))  # doctest: +SKIP
        >>> tokenizer.token_ids(["Hello"], add_special_tokens=True)  # doctest: +SKIP
        [array([ 101, 7592,  102], dtype=int32)]
    """
    if not (folder / "tokenizer.json").is_file():
        expected = "a folder with a fast tokenizer is expected"
        raise FileNotFoundError(f"{folder} has no tokenizer.json: {expected}")
    with quiet_import():
        from transformers import AutoTokenizer

    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **options)
    except Exception as error:  # the tokenizers library raises bare Exceptions for corrupt files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, TypeError | AttributeError | LookupError | OverflowError):
            reason = "a field of its JSON files is missing or of another type than it should be"
        raise ValueError(f"the tokenizer in {folder} cannot be loaded: {reason}") from None
    if type(limit := tokenizer.model_max_length) not in (int, float):
        got = f"model_max_length is {limit!r}"[:60]
        raise ValueError(f"{folder / 'tokenizer_config.json'}: {got}: a number is expected")
    added = tokenizer.added_tokens_decoder.items()
    special = {number: token.content for number, token in added if token.special}
    template = tokenizer.get_chat_template() if tokenizer.chat_template else None
    return TextTokenizer(tokenizer, special, template)
