"""Folders stand in one order: a file imports from its own folder and from those before it."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lore_jax"

# The one list: from the bottom up.
ORDER = [
    "data",
    "parallel",
    "storage",
    "solvers",
    "model",
    "users",
    "methods",
    "fitting",
    "evaluation",
    "reporting",
    "export",
    "steering",
    "runs",
    "datasets",
    "embed",
    "cli",
]

# Where a heavy library may be imported when the file is; elsewhere not at all, or only inside
# functions.
HOMES = {"orbax": "storage", "transformers": "embed", "matplotlib": "reporting", "torch": "export"}
INSIDE_FUNCTIONS = {"pyarrow", "pandas", "transformers", "torch"}


def files():
    """Every module under its dotted name within the package, but the package's `__init__`."""
    names = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }
    return {
        name.removesuffix(".__init__"): path
        for name, path in sorted(names.items())
        if name != "__init__"
    }


def imports(path):
    """`(module, line, when)` of each import; when: "import", "call" (in a function), "typing"."""

    def walk(node, when):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            when = "call"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            when = "typing"
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path.name} line {node.lineno}: imports name the package in full"
            )
            yield node.module, node.lineno, when
            yield from ((f"{node.module}.{alias.name}", node.lineno, when) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, when)

    return list(walk(ast.parse(path.read_text(encoding="utf-8")), "import"))


def within(module, names):
    """The file of this package that an import of `module` means, or None."""
    inner = module.removeprefix("lore_jax.")
    return inner if module.startswith("lore_jax.") and inner in names else None


def layer(name):
    """The layer of a module's folder; `python -m lore_jax` is the top."""
    folder = name.split(".")[0]
    return len(ORDER) if folder == "__main__" else ORDER.index(folder)


def test_the_package_is_folders_and_every_folder_has_its_place():
    entries = {entry.name for entry in PACKAGE.iterdir() if entry.name != "__pycache__"}
    assert entries - set(ORDER) == {"__init__.py", "__main__.py", "py.typed"}
    assert set(ORDER) <= entries
    assert len(ORDER) <= 16


@pytest.mark.parametrize("name", files())
def test_no_file_reaches_up(name):
    modules = files()
    for module, line, _ in imports(modules[name]):
        other = within(module, modules)
        if other is not None:
            assert layer(other) <= layer(name), (
                f"{name} imports {other} in line {line}, which stands above it"
            )


def test_there_is_no_circle():
    modules = files()
    graph = {
        name: {
            other
            for module, _, when in imports(path)
            if when != "typing" and (other := within(module, modules))
        }
        - {name}
        for name, path in modules.items()
    }
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("name", files())
def test_heavy_libraries_stay_at_home(name):
    for module, line, when in imports(files()[name]):
        library = module.split(".")[0]
        if library in HOMES and when != "typing":
            assert name.split(".")[0] == HOMES[library], f"{name} imports {library} in line {line}"
        if library in INSIDE_FUNCTIONS:
            assert when != "import", (
                f"{name} imports {library} in line {line}, outside any function"
            )


def test_importing_the_package_is_light():
    # Every public name is touched but those that keep models and runs, whose home is orbax's.
    script = (
        "import sys, lore_jax\n"
        "early = [name for name in ('jax', 'flax', 'numpy') if name in sys.modules]\n"
        "keepers = {'save', 'load', 'save_answers', 'load_answers', 'run_fit'}\n"
        "for name in set(lore_jax.__all__) - keepers: getattr(lore_jax, name)\n"
        f"heavy = set({sorted({*HOMES, *INSIDE_FUNCTIONS})!r}) & set(sys.modules)\n"
        "print(early, sorted(heavy))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
        timeout=100,
    )
    assert result.stdout.strip() == "[] []"


def test_a_file_that_reaches_up_is_found(tmp_path):
    offender = tmp_path / "newton.py"
    offender.write_text(
        "def f():\n    from lore_jax.users.adapt import adapt\n"
        "import torch\nfrom lore_jax.evaluation import metrics\n"
    )
    rows = imports(offender)
    assert ("lore_jax.users.adapt", 2, "call") in rows
    assert ("torch", 3, "import") in rows
    assert within("lore_jax.evaluation.metrics", files()) == "evaluation.metrics"
    assert ("lore_jax.evaluation.metrics", 4, "import") in rows
    assert layer("users.adapt") > layer("solvers.newton")


def test_public_names_mean_the_same_to_type_checkers_and_at_run_time():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (home,) = (
        node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "_HOME"
    )
    assert seen == {
        name: f"lore_jax.{module}" for name, module in ast.literal_eval(home.value).items()
    }
