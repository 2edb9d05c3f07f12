"""The examples in docstrings run, each in an empty folder and with small objects at hand.

Examples that need files, a network or minutes carry `# doctest: +SKIP`.
"""

import ast
import doctest
import importlib
from pathlib import Path

import pytest
from small_objects import small_objects

ROOT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstrings():
    """Every docstring with examples, as a doctest without globals, under `module:name`."""
    parser, found = doctest.DocTestParser(), {}
    for path in sorted((ROOT / "lore_jax").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>>" not in text:
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            docstring = ast.get_docstring(node, clean=False)
            if docstring and ">>>" in docstring:
                name = f"{module}:{getattr(node, 'name', '')}"
                first_line = node.body[0].lineno - 1
                found[name] = parser.get_doctest(docstring, {}, name, str(path), first_line)
    return found


DOCSTRINGS = docstrings()


def running(test):
    """The examples of a docstring that are not skipped."""
    return [example for example in test.examples if doctest.SKIP not in example.options]


def test_most_examples_run():
    examples = sum(len(test.examples) for test in DOCSTRINGS.values())
    run = sum(len(running(test)) for test in DOCSTRINGS.values())
    assert run >= 80, f"{run} of {examples} examples run"
    assert run >= 0.5 * examples, f"{run} of {examples} examples run"


@pytest.mark.parametrize("name", [name for name, test in DOCSTRINGS.items() if running(test)])
def test_examples_give_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test, report = DOCSTRINGS[name], []
    module = importlib.import_module(name.split(":")[0])
    test.globs = {**small_objects(), **vars(module)}
    result = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=report.append)
    assert result.failed == 0, "".join(report)
