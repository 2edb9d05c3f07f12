"""What is imported is declared in pyproject.toml, and what is declared is imported."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Declared though the package never imports it.
NOT_IMPORTED = {
    "flatbuffers": "jax.export serialises with it, and jax does not declare it",
}
# Started, or imported by name: tools, plug-ins of pytest, and what runs the notebook.
TOOLS = {
    *("ruff", "pyright", "pre_commit", "pytest_timeout", "pytest_xdist"),
    *("ipykernel", "nbclient", "nbformat"),
}
# Imported though not declared.
NOT_DECLARED = {
    "pandas": "`from_dataframe` takes the caller's; the package names its type only",
    "torch": "the reference of a benchmark and of tests that are skipped without it",
}


def normalise(name):
    return re.split(r"[^\w.-]", name, maxsplit=1)[0].lower().replace("-", "_")


def declared(requirements):
    return {normalise(requirement) for requirement in requirements}


def imported(folder, own=()):
    """The distributions that the files of a folder import, each with one file that does."""
    distributions, found = packages_distributions(), {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                modules = [node.module]
            else:
                continue
            for top in {module.split(".")[0] for module in modules}:
                if top not in {*sys.stdlib_module_names, "_typeshed", *own}:
                    distribution = distributions.get(top, [top])[0]
                    found[normalise(distribution)] = f"{path.relative_to(ROOT)} imports {top}"
    return found


def test_what_the_package_imports_is_declared_and_the_reverse():
    needed = imported("lore_jax", own={"lore_jax"})
    dependencies = declared(PROJECT["dependencies"])
    undeclared = needed.keys() - dependencies - NOT_DECLARED.keys()
    assert not undeclared, [needed[name] for name in undeclared]
    assert dependencies - needed.keys() == NOT_IMPORTED.keys()


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "experiments"])
def test_what_developers_import_is_declared(folder):
    own = {"lore_jax", "experiments", "benchmarks"}
    own |= {path.stem for path in (ROOT / "tests").glob("*.py")}
    needed = imported(folder, own)
    extras = PROJECT["optional-dependencies"]["dev"]
    undeclared = needed.keys() - declared([*PROJECT["dependencies"], *extras])
    undeclared -= NOT_DECLARED.keys()
    assert not undeclared, [needed[name] for name in undeclared]


def test_what_only_developers_import_is_an_extra():
    own = {"lore_jax", "experiments", "benchmarks"}
    needed = {
        name for folder in ("tests", "benchmarks", "experiments") for name in imported(folder, own)
    }
    extras = declared(PROJECT["optional-dependencies"]["dev"])
    assert extras - needed == TOOLS
    assert not extras & declared(PROJECT["dependencies"])
