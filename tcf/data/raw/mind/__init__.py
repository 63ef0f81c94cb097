"""MIND as Microsoft publishes it."""
