"""The results of a study: one table of all settings, comparisons, and what is printed of them."""
