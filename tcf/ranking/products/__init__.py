"""Ranking by blocks of torch's matrix products."""
