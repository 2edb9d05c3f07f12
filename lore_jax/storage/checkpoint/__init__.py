"""Checkpoints of arrays with checksums, on top of Orbax."""
