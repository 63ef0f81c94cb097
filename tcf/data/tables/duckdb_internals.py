"""What DuckDB says only in words: these may change with any version; the tests of this module name what broke."""

import re

import duckdb

__all__ = ["is_about_scratch", "is_of_other_bytes"]

_NOT_UTF8 = re.compile("string encoding|invalid UTF8")


def is_of_other_bytes(error: duckdb.Error) -> bool:
    """Return whether a file could not be read because strings in it are not UTF-8."""
    return _NOT_UTF8.search(str(error)) is not None


def is_about_scratch(error: duckdb.Error) -> bool:
    """Whether queries wrote as much to the scratch folder as they may; else there is too little memory."""
    return "max_temp_directory_size" in str(error)
