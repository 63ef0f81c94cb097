"""Runs stages: the whole pipeline, several devices, hyperparameter searches, worker processes."""
