"""Stage one: a language model encodes every item text once, and the vectors are stored in a cache."""
