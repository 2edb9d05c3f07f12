"""One reader a source: each gives `Preferences`, or texts to embed."""
