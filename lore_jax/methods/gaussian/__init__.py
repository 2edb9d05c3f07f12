"""Gaussian weights around a learned population: Laplace EM."""
