"""What an index of packages is told beside `pyproject.toml`: where the repository is; the README.

The repository does not say where it is kept, so that every copy of it is right: what is built is
built from a checkout, whose `origin` knows. Addresses are relative to that one, under the labels
that indices know (PEP 753). An index shows the README without the files around it: its relative
links become addresses, or their text alone where there is no origin that others can open. A wheel
that is built from an sdist keeps what the sdist says.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# An address of the web, of ssh, or as scp writes it, on a host that has a name; not who asks there.
_HOST = r"(?P<host>[\w-]+(?:\.[\w-]+)*\.[a-zA-Z]{2,})"
_PATH = r"(?P<path>[\w.~-]+(?:/[\w.~-]+)+)/?"
_ORIGINS = (
    re.compile(rf"https?://(?:[^@/]+@)?{_HOST}/{_PATH}"),
    re.compile(rf"ssh://(?:[^@/]+@)?{_HOST}(?::\d+)?/{_PATH}"),
    re.compile(rf"[\w.-]+@{_HOST}:{_PATH}"),
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")
_PLACES = {
    "Source": "",
    "Documentation": "/blob/HEAD/docs/index.md",
    "Changelog": "/blob/HEAD/CHANGELOG.md",
    "Issues": "/issues",
}


class RepositoryHook(MetadataHookInterface):
    """Fills in `project.urls` and `project.readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the table `project`."""
        root = Path(self.root)
        address = repository(origin(root))
        metadata["urls"] = {**self.config.get("urls", {}), **urls(address)}
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": shown(text, address)}


def origin(root: Path) -> str:
    """The origin of the checkout at `root`; empty where it is no checkout, or has none."""
    if not (root / ".git").exists():
        return ""  # an sdist: a repository that happens to lie around it is another one
    command = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # there is no git
        return ""


def repository(remote: str) -> str | None:
    """The page of a git remote that others can open; None for paths and hosts without a name."""
    for form in _ORIGINS:
        if found := form.fullmatch(remote):
            return f"https://{found['host']}/{found['path'].removesuffix('.git')}"
    return None


def urls(address: str | None) -> dict[str, str]:
    """The links of the project, none where no address is known."""
    return {} if address is None else {name: address + at for name, at in _PLACES.items()}


def shown(text: str, address: str | None) -> str:
    """Markdown whose relative links work elsewhere, or are no links."""

    def link(found: re.Match[str]) -> str:
        image, words, at = found.groups()
        if address is None:
            return f"*{words}*" if image else words
        return f"{image}[{words}]({address}/{'raw' if image else 'blob'}/HEAD/{at})"

    return _LINK.sub(link, text)
