"""Places that results are written to, and those that users name."""
