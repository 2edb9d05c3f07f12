"""Fitting: what is asked for, what validation chooses, and the fit itself."""
