"""Units: the pieces of work that a command or a study consists of, each done once, and what is known of each."""
