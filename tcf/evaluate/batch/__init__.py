"""Many evaluations of one command: names, what exists already, and the order of the others."""
