"""Training batches: which rows and candidates a step sees, and how they are laid out."""
