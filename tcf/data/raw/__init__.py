"""Readers of raw formats: each gives item texts and users' events under the ids of the files."""
