"""Statistics and plots of one dataset, and comparisons of two."""
