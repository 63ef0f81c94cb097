"""Item text, read by a language model, for recommendation: extract vectors once, train, rank, report."""
