"""The forward passes, in JAX alone."""
