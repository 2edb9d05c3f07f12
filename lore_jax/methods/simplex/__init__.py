"""Simplex weights: the objective of the paper."""
