"""A fit on disk: progress, checkpoints, resuming."""
