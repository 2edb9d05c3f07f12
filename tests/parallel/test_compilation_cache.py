"""What is compiled is kept on disk, whether JAX was imported before or not."""

import os
import subprocess
import sys

import pytest

USE = "jax.jit(lambda x: jnp.linalg.cholesky(x @ x.T))(jnp.eye(8)).block_until_ready()"
BEFORE = f"import jax; import jax.numpy as jnp; {USE}; import lore_jax as lore; lore.FitConfig; "
AFTER = "import lore_jax as lore; lore.FitConfig; import jax; import jax.numpy as jnp; "


def kept(folder, program, **environment):
    env = {**os.environ, "XDG_CACHE_HOME": str(folder), **environment}
    for name in list(env):
        if name.startswith(("JAX_COMPILATION", "JAX_PERSISTENT")) and name not in environment:
            del env[name]
    setting = "jax.config.jax_compilation_cache_dir"
    program = f"{program}{USE.replace('8', '9')}; print({setting})"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("program", [BEFORE, AFTER], ids=["jax first", "jax after"])
def test_programs_are_kept(program, tmp_path):
    folder = tmp_path / "lore_jax" / "programs"
    # however quickly it was compiled
    assert kept(tmp_path, program, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0") == str(folder)
    assert list(folder.iterdir())


def test_the_environment_wins(tmp_path):
    chosen = str(tmp_path / "mine")
    assert kept(tmp_path, BEFORE, JAX_COMPILATION_CACHE_DIR=chosen) == chosen
    assert not (tmp_path / "lore_jax").exists()
