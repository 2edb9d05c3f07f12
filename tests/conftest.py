"""Eight CPU devices for every test; no accidental broadcasting; array annotations are checked.

Compilation is most of what the tests cost, and their programs run once: the compiler need not try
hard, and workers share what it made.
"""

import importlib.metadata
import os
import tempfile
from pathlib import Path

_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
# Its own emitters of fusions are half of what jaxlib 0.10 takes to compile; later ones have no
# choice, and refuse flags they do not know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}"
# Otherwise the first of several workers takes a whole GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Workers inherit the environment of the process that starts them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = tempfile.TemporaryDirectory(prefix="lore_jax_programs_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
import shapes  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

shapes.install()  # before the package is imported

# The same examples on every run and every machine, however slow.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def polis_data():
    """The folder of published Polis conversations: LORE_POLIS, or beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "polis"
    folder = Path(os.environ.get("LORE_POLIS", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist (set LORE_POLIS)")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Every compiled program takes memory maps, of which a process may have so many."""
    yield
    from lore_jax.parallel.compiled_programs import drop_programs_if_many

    drop_programs_if_many(0.5)
