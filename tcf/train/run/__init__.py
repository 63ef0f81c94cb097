"""The run directory: what a training writes, resumes from and publishes."""
