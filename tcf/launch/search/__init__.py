"""Hyperparameter search: trials in worker processes, parameters sampled by Optuna."""
