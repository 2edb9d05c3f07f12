"""How far choosing or a fit has come: a bar on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

_SECONDS = 30.0  # between two lines


class Progress:
    """Counts the fits of validation, or the steps of one fit, and says so on standard error.

    Args:
        shown: False: counts alone.

    Example:
        >>> with Progress() as progress:
        ...     progress.fitted("ridge")
        >>> progress.count
        1
    """

    def __init__(self, *, shown: bool = True) -> None:
        self.count = 0
        self._shown, self._lock, self._said = shown, threading.Lock(), time.monotonic()
        self._bar: tqdm | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def fitted(self, stage: str) -> None:
        """One more fit of a stage is done; threads may say so at once."""
        with self._lock:
            self._show(self.count + 1, f"choosing: {stage}", "fit")
            self._say(f"choosing {stage}, {self.count:,} fits done")

    def stepped(self, taken: int, total: int) -> None:
        """So many steps of a fit are taken."""
        with self._lock:
            self._show(taken, "fitting", "step", total)
            self._say(f"fitting, {taken:,} of {total:,} steps done")

    def _show(self, count: int, text: str, unit: str, total: int | None = None) -> None:
        """Counts, on a terminal by a bar."""
        more, self.count = count - self.count, count
        if not self._shown or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(unit=unit, total=total, leave=False)
        self._bar.update(more)
        if self._bar.desc != text:
            self._bar.set_description_str(text)

    def _say(self, text: str) -> None:
        """Where there is no terminal, a line now and then."""
        if self._shown and not sys.stderr.isatty() and time.monotonic() - self._said >= _SECONDS:
            self._said = time.monotonic()
            print(f"lore_jax: {text}", file=sys.stderr, flush=True)
