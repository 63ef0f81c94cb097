"""Each evaluated user's list of the best candidates: found, measured, and written beside the ranks."""
