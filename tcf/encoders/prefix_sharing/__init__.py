"""Computing each distinct prefix of texts once: the tree of prefixes, and attention along its paths."""
