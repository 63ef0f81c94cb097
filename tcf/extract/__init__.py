"""Stage one: a language model reads every item text, and its vectors go into a cache."""
