"""What an index of packages is told: addresses relative to the repository's own, and a README whose
links work there. How the compiled solvers are built.
"""

import importlib
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from lore_jax.solvers.native import library

ROOT = Path(__file__).parents[1]
HERE = "https://forge.example.org/people/lore_jax"


def metadata(folder, remote=None):
    """As hatchling makes it of a checkout with this origin; None: of an sdist."""
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    if remote is not None:
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        if remote:
            command = ["git", "-C", str(folder), "remote", "add", "origin", remote]
            subprocess.run(command, check=True)
    return ProjectMetadata(str(folder), PluginManager()).core


@pytest.mark.parametrize(
    "remote",
    [
        "https://forge.example.org/people/lore_jax",
        "https://forge.example.org/people/lore_jax.git/",
        "https://ann:secret@forge.example.org/people/lore_jax.git",
        "git@forge.example.org:people/lore_jax.git",
        "ssh://git@forge.example.org:2222/people/lore_jax.git",
    ],
)
def test_addresses_are_relative_to_the_repositorys_own(remote, tmp_path):
    core = metadata(tmp_path, remote)
    assert core.urls == {
        "Paper": "https://arxiv.org/abs/2504.14439",
        "Source": HERE,
        "Documentation": f"{HERE}/blob/HEAD/docs/index.md",
        "Changelog": f"{HERE}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{HERE}/issues",
    }
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)]+)\)", core.readme)
    ours = [(image, link) for image, link in links if link.startswith(HERE)]
    assert len(ours) > 20
    for image, link in ours:
        kind, head, path = link.removeprefix(f"{HERE}/").split("/", 2)
        assert (kind, head) == ("raw" if image else "blob", "HEAD")
        assert (ROOT / path).is_file()
    assert all(link.startswith("https://") for _, link in links)
    assert (ROOT / "CHANGELOG.md").is_file()


@pytest.mark.parametrize(
    "remote",
    [
        *(None, "", "/srv/git/lore_jax.git", "file:///srv/lore_jax", "../lore_jax"),
        *("my.folder/a/b", "http://ann@127.0.0.1:4000/a/b", "http://localhost/people/lore_jax"),
    ],
)
def test_without_an_address_nothing_leads_nowhere(remote, tmp_path):
    core = metadata(tmp_path, remote)
    assert core.urls.keys() == {"Paper"}
    links = re.findall(r"\]\(([^)]+)\)", core.readme)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "quickstart" in core.readme


def test_labels_are_those_that_indices_know(tmp_path):
    """PEP 753: lower case, without punctuation and spaces."""
    core = metadata(tmp_path, HERE)
    labels = {re.sub(r"[\W_]", "", label).lower() for label in core.urls}
    assert labels - {"paper"} == {"source", "documentation", "changelog", "issues"}


def test_who_wrote_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["authors"] == [{"name": "lore_jax contributors"}]


def hooks(monkeypatch):
    """`hatch_build.py` as a module."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("hatch_build")


def test_the_solvers_are_compiled_where_there_is_a_compiler(tmp_path, monkeypatch, capfd):
    folder = tmp_path / "native"
    shutil.copytree(
        library.FOLDER, folder, ignore=shutil.ignore_patterns("*.library", "__pycache__")
    )
    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert not hooks(monkeypatch).compiled(folder)
    assert "built without its compiled solvers" in capfd.readouterr().err
    monkeypatch.setenv("CXX", "false")  # one that fails
    assert not hooks(monkeypatch).compiled(folder)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_library_is_known_by_its_sources(tmp_path, monkeypatch):
    if library.load() is None:
        pytest.skip("built without a C++ compiler")
    folder = tmp_path / "native"
    shutil.copytree(
        library.FOLDER, folder, ignore=shutil.ignore_patterns("*.library", "__pycache__")
    )
    assert hooks(monkeypatch).compiled(folder)
    assert library.digest(folder).encode() in (folder / "solvers.library").read_bytes()
