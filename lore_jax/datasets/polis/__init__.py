"""Polis conversations: votes of people on statements."""
