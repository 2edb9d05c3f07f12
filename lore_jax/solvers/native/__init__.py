"""Solvers of users in C++ for CPUs, where a compiler was at hand when the package was built."""
