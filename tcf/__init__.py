"""Item text, read by a language model, for recommendation: extract vectors once, train, rank, report."""

__version__ = "0.1.0"
"""The version of tcf; `setup.cfg` reads it from here."""
