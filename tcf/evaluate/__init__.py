"""Runs and baselines to evaluations, recommendations and comparisons."""
