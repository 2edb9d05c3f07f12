"""A fitted model: its basis, its prior, posteriors of users, and all of it on disk."""
