"""Extraction plans: model size, machine, workload, and the schedule chosen from them."""
