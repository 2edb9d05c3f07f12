"""Who may import whom: every file stands on a floor and imports from floors below, or its own without a circle."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lore_jax"

FLOORS = [
    "array_checks pair_sums preferences losses metrics files tensorfile cholesky",
    "splits four_way basis layout blocks sharding cache cache_manifest cache_reader newton interior_point mixture model"
    " calibration",
    "datasets embed adapt predict",
    "simplex simplex_config population bradley_terry spectral stream axes collapse camps",
    "checkpoint checkpoint_manifest saved_model export evaluate controls results verdict tables sweep",
    "fit fit_config choose",
    "runs run_config run_folder run_cells fit_state plots report report_style demo",
    "cli commands __main__",
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}

# Where a heavy library may be imported when the file is; elsewhere not at all, or only inside functions.
HOMES = {"orbax": {"checkpoint"}, "transformers": {"embed"}, "matplotlib": {"plots"}, "torch": set()}
INSIDE_FUNCTIONS = {"pyarrow", "pandas"}


def files():
    """Every module under its dotted name within the package; the table of contents stands outside the building."""
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in sorted(names.items()) if name != "__init__"}


def imports(path):
    """`(module, line, when)` of each import; when is "import", "call" (inside a function) or "typing"."""

    def walk(node, when):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            when = "call"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            when = "typing"
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: imports name the package in full"
            yield node.module, node.lineno, when
            yield from ((f"{node.module}.{alias.name}", node.lineno, when) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, when)

    return list(walk(ast.parse(path.read_text(encoding="utf-8")), "import"))


def within(module, names):
    """The file of this package that an import of `module` means, or None."""
    inner = module.removeprefix("lore_jax.")
    return inner if module.startswith("lore_jax.") and inner in names else None


def floor_of(name):
    return FLOOR[name.split(".")[0]]


def test_every_file_has_a_floor_and_every_floor_its_files():
    heads = {name.split(".")[0] for name in files()}
    assert not heads - set(FLOOR), f"without a floor: {sorted(heads - set(FLOOR))}; add them to FLOORS here"
    assert len(FLOOR) == sum(len(names.split()) for names in FLOORS), "a file stands on two floors"
    gone = set(FLOOR) - heads - {"embed"}
    assert not gone, f"on a floor, but there is no such file: {sorted(gone)}"


@pytest.mark.parametrize("name", files())
def test_no_file_reaches_up(name):
    modules = files()
    for module, line, _ in imports(modules[name]):
        other = within(module, modules)
        if other is not None:
            assert floor_of(other) <= floor_of(name), (
                f"{name} (floor {floor_of(name)}) imports {other} (floor {floor_of(other)}) in line {line}"
            )


def test_there_is_no_circle():
    modules = files()
    graph = {
        name: {other for module, _, when in imports(path) if when != "typing" and (other := within(module, modules))}
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
            assert name.split(".")[0] in HOMES[library], f"{name} imports {library} in line {line}"
        if library in INSIDE_FUNCTIONS:
            assert when != "import", f"{name} imports {library} in line {line}, outside any function"


def test_importing_the_package_is_light():
    # Every public name is touched but those that keep models on disk, whose home is orbax's.
    script = (
        "import sys, lore_jax\n"
        "early = [name for name in ('jax', 'flax', 'numpy') if name in sys.modules]\n"
        "for name in set(lore_jax.__all__) - {'save', 'load'}: getattr(lore_jax, name)\n"
        f"heavy = [name for name in {sorted([*HOMES, *INSIDE_FUNCTIONS])!r} if name in sys.modules]\n"
        "print(early, heavy)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent, timeout=100
    )
    assert found.stdout.strip() == "[] []"


def test_a_file_that_reaches_up_is_found(tmp_path):
    offender = tmp_path / "losses.py"
    offender.write_text("def f():\n    from lore_jax.adapt import adapt\nimport torch\nfrom lore_jax import metrics\n")
    found = imports(offender)
    assert ("lore_jax.adapt", 2, "call") in found
    assert ("torch", 3, "import") in found
    assert within("lore_jax.metrics", files()) == "metrics"
    assert ("lore_jax.metrics", 4, "import") in found
    assert floor_of("adapt") > floor_of("losses")
