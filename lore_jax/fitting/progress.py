"""How far choosing has come: a bar on a terminal, elsewhere a line every half minute."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from tqdm import tqdm

_SECONDS = 30.0  # between two lines


class Progress:
    """Counts the fits of validation and says so on standard error.

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
            self.count += 1
            if not self._shown:
                return
            if sys.stderr.isatty():
                if self._bar is None:
                    self._bar = tqdm(unit="fit", leave=False)
                self._bar.update()
                if self._bar.desc != (text := f"choosing: {stage}"):
                    self._bar.set_description_str(text)
            elif time.monotonic() - self._said >= _SECONDS:
                self._said = time.monotonic()
                text = f"lore_jax: choosing {stage}, {self.count:,} fits done"
                print(text, file=sys.stderr, flush=True)
