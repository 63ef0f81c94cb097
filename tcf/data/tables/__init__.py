"""Raw files as tables of strings in the engine."""
