"""The commands of `lore-jax`: a module each, with `Config`, `run(config) -> dict` and `lines(result) -> list[str]`."""
