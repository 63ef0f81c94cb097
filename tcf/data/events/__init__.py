"""Items and histories from the tables of raw files."""
