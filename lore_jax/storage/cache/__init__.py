"""An embedding cache on disk: written, read, and described by its manifest."""
