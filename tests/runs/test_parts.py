"""The loop over parts: resumed, refused for other settings, and within the limit of memory maps."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lore_jax.evaluation.results import make_results
from lore_jax.parallel import compiled_programs
from lore_jax.runs.parts import Part, run_parts

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Settings:
    shots: tuple[int, ...] = (0, 5)


def results_of(seed):
    return make_results([], [], name="test", config=Settings(), seed=seed, measured=10 * seed)


def test_a_part_is_made_once_and_read_again(tmp_path):
    made = []

    def part(seed):
        def make():
            made.append(seed)
            return results_of(seed)

        return Part(str(seed), {"config": Settings(), "seed": seed, "encoder": "e"}, make)

    first = run_parts(tmp_path / "parts", [part(1), part(2)], description="")
    assert [result["measured"] for result in first] == [10, 20]
    assert all(result["encoder"] == "e" for result in first)  # settings are kept in the file
    (tmp_path / "parts" / "2.json").unlink()
    assert run_parts(tmp_path / "parts", [part(1), part(2), part(3)], description="")[:2] == first
    assert made == [1, 2, 2, 3]


def test_a_part_that_fails_leaves_no_file(tmp_path):
    def fail():
        raise OSError("the disk refused")

    with pytest.raises(OSError, match="the disk refused"):
        run_parts(tmp_path, [Part("one", {}, fail)], description="")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "differing"),
    [
        ({"config": Settings((0, 10)), "seed": 1}, "config"),
        ({"config": Settings(), "seed": 2}, "seed"),
        ({"config": Settings(), "seed": 1, "encoder": "other"}, "encoder"),
    ],
)
def test_a_part_of_other_settings_is_refused(tmp_path, settings, differing):
    known = {"config": Settings(), "seed": 1}
    run_parts(tmp_path, [Part("one", known, lambda: results_of(1))], description="")
    part = Part("one", settings, lambda: pytest.fail("made again"))
    message = rf"one\.json was made with other settings \({differing}\): remove it, or give another"
    with pytest.raises(ValueError, match=message):
        run_parts(tmp_path, [part], description="")


# In a process of its own: other tests' programs stay compiled, and their maps are not counted.
MANY_SHAPES = """
import json, pathlib, sys
import jax, jax.numpy as jnp
from lore_jax.parallel import compiled_programs
from lore_jax.runs import parts
from lore_jax.evaluation.results import make_results

solve = jax.jit(lambda x: jnp.tanh(x) @ x.T)
folder = pathlib.Path(sys.argv[1])
solve(jnp.ones((3, 3)))
compiled_programs._MAX_MAPS = folder / "limit"
compiled_programs._MAX_MAPS.write_text(str(3 * (compiled_programs.num_maps() + 60)))
counts = []

def part(size):
    def make():
        counts.append(compiled_programs.num_maps())
        for more in range(3):
            solve(jnp.ones((size + more, 3)))
        return make_results([], [], name="test", config=None, seed=size)
    return parts.Part(str(size), {"seed": size}, make)

parts.run_parts(folder / "parts", [part(size) for size in range(10, 60, 5)], description="")
compiled = compiled_programs.num_maps()
not_yet = compiled_programs.drop_programs_if_many(share=1.0)
dropped = compiled_programs.drop_programs_if_many(share=0.0)
print(json.dumps([counts, compiled, not_yet, dropped, compiled_programs.num_maps()]))
"""


@pytest.mark.skipif(not compiled_programs._MAX_MAPS.exists(), reason="the system counts no maps")
def test_programs_are_dropped_before_the_maps_run_out(tmp_path):
    command = [sys.executable, "-c", MANY_SHAPES, str(tmp_path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    counts, compiled, not_yet, dropped, left = json.loads(result.stdout)
    third = int((tmp_path / "limit").read_text()) / 3
    drops = [before - after for before, after in itertools.pairwise(counts) if after < before]
    assert max(counts) < third  # what a part begins with
    assert drops  # in between they were dropped
    assert len(drops) < len(counts) / 2  # but not before every part
    assert (not_yet, dropped) == (False, True)
    assert left < compiled - 20
