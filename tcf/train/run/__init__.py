"""The run directory: what training writes, resumes from and publishes."""
