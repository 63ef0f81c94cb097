"""Hyperparameter search: trials in worker processes, settings drawn by Optuna."""
