"""The raw format of the study: its two files, the folders that it released, and NineRec."""
