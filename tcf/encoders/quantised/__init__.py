"""Checkpoints with quantised weights: which method config.json names, and the weights in full precision."""
