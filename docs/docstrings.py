"""The site's reader of docstrings: what stands below `Example:` is code that runs."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Gives examples the title by which the site knows that they are code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Reads one object's docstring."""
        if obj.docstring is not None:
            title = re.compile(r"^(\s*)Example:$", re.MULTILINE)
            obj.docstring.value = title.sub(r"\1Examples:", obj.docstring.value)
