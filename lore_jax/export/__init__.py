"""Weights and programs for other software."""
