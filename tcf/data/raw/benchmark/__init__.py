"""Events as benchmark files have them: files for the parts of a split, and rows with lists of earlier items."""
