"""Every module of the package has a test of its name in the same folder of tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Modules that need no test of their own: the reason says which test covers them.
CHAIN = "tests/cli/test_main.py runs it in the chain from a cache to a report"
EXCEPTIONS = {
    "cli/fit.py": CHAIN,
    "cli/score.py": CHAIN,
    "cli/evaluate.py": CHAIN,
    "cli/tested.py": CHAIN,
    "cli/candidate_sets.py": "tests/cli/test_relabel.py scores texts by it, the chain a cache",
}


def modules():
    """Every module of the package that holds code, by its path within the package."""
    package = ROOT / "lore_jax"
    paths = (path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return sorted(path for path in paths if not path.endswith(("__init__.py", "__main__.py")))


def mirrored(module):
    folder, _, name = module.rpartition("/")
    return f"tests/{folder}/test_{name}"


def has_test(module):
    return (ROOT / mirrored(module)).exists()


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_test_of_its_name(module):
    if module in EXCEPTIONS:
        pytest.skip(EXCEPTIONS[module])
    assert has_test(module), f"lore_jax/{module} has no {mirrored(module)}"


def test_exceptions_are_modules_without_a_test():
    assert set(EXCEPTIONS) <= set(modules())
    assert not [module for module in EXCEPTIONS if has_test(module)]
