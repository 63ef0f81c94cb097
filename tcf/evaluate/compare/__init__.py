"""Paired comparison of evaluations over the same users."""
