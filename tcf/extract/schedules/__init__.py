"""Schedules: how a model's weights and its texts' hidden states move through devices, RAM and disk."""
