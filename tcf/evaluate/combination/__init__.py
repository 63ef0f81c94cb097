"""Combinations: finished runs and baselines whose standardised scores are added, in one index."""
