"""The study's two files, its released folders, and NineRec."""
