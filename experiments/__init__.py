"""Experiments: one readable page each; run them as `python -m experiments.NAME`."""
