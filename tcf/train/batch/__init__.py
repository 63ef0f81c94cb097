"""Training batches: the rows and candidates of a step, and their memory layout."""
