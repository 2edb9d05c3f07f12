"""JAX's persistent compilation cache, switched on where nobody has decided about it.

A fit that chooses everything compiles for longer than it runs; kept on disk, programs are compiled
once for a machine, and not once for a process.
"""

from __future__ import annotations

import os
import sys

_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.05,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def keep_compiled_programs() -> None:
    """Lets JAX keep what it compiles for the next process.

    Programs go to `$XDG_CACHE_HOME/lore_jax/programs` (`~/.cache`). Whatever the environment or
    `jax.config` says of the cache's folder wins; `JAX_ENABLE_COMPILATION_CACHE=false` switches it
    off. Costs nothing where JAX is not imported yet.

    Example:
        >>> keep_compiled_programs()
        >>> jax.config.jax_compilation_cache_dir is None
        False
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") is not None:
        return
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(caches, "lore_jax", "programs")
    if "jax" not in sys.modules:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name.upper(), str(value))
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    decided = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if decided is not None:
        return
    compilation_cache.set_cache_dir(folder)
    for name, value in _SETTINGS.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    compilation_cache.reset_cache()  # what was compiled before has settled that there is none
