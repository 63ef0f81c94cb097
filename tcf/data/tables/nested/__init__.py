"""Objects, lists and maps within a raw file, written out as text: `Brand: X, Colors: red, green`.

Entries of an object and elements of a list are joined by a comma and a space; those without a text are left out. JSON
and Parquet give the same texts.
"""
