"""Schedules: how a model and its texts move through devices, RAM and disk."""
