"""Cached item vectors as model input: cache rows, projections, and placement."""
