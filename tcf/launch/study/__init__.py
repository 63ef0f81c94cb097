"""Studies: one file, expanded into units, and the results of all of them."""
