"""Cached item vectors as model input: rows, projections, and where they are kept."""
