"""Readers of raw formats: each returns item texts and users' events, with the ids of the files."""
