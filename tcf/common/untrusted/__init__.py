"""Names and texts from outside: from archives, raw files, manifests and settings."""
