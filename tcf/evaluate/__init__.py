"""Turns runs and baselines into evaluations, recommendations and comparisons."""
