"""Datasets in numbers and plots, alone and compared."""
