"""How the package is built: its compiled solvers, and what an index of packages is told of it.

The solvers of `lore_jax/solvers/native` are compiled where there is a C++ compiler. A wheel with
them is for one platform and any Python; one without is for all, and XLA does the work.

The repository does not say where it is kept, so that every copy of it is right: what is built is
built from a checkout, whose `origin` knows. Addresses are relative to that one, under the labels
that indices know (PEP 753). An index shows the README without the files around it: its relative
links become addresses, or their text alone where there is no origin that others can open. A wheel
that is built from an sdist keeps what the sdist says.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
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


_NATIVE = "lore_jax/solvers/native"
# NaN and infinities are kept; products and sums may be fused.
_FLAGS = ["-std=c++17", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-w"]


class NativeHook(BuildHookInterface):
    """Compiles the solvers into wheels and editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a build."""
        if self.target_name == "wheel" and compiled(Path(self.root, _NATIVE)):
            platform = re.sub(r"\W", "_", sysconfig.get_platform())
            build_data["artifacts"].append(f"{_NATIVE}/*.library")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"


def compiled(folder: Path) -> bool:
    """Whether a library could be built of the sources in a folder, beside them."""
    # The digest is `library.digest`'s; a build has nothing installed that could be imported.
    sources = sorted(path for path in folder.iterdir() if path.suffix in (".cc", ".h"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    library = folder / "solvers.library"
    library.unlink(missing_ok=True)
    command = [
        *shlex.split(os.environ.get("CXX", "c++")),
        *_FLAGS,
        f'-DLORE_SOURCE_DIGEST="{digest}"',
        *(str(path) for path in sources if path.suffix == ".cc"),
    ]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch, library.name)
        try:
            done = subprocess.run([*command, "-o", built], capture_output=True, text=True)
            told = done.stderr
        except OSError as error:  # there is no compiler
            told = str(error)
        if not built.exists():
            print(f"lore_jax is built without its compiled solvers: {told[-500:]}", file=sys.stderr)
            return False
        built.replace(library)  # whoever has the old one open keeps it whole
    return True


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
