"""Intervals, tests and their corrections: pure functions on arrays.

Shapes: U users, M columns (metrics, or differences of a metric), R resamples, F flips, S seeds, P tests, N rankings.
"""
