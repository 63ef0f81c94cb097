"""Numbers in columns of strings, as expressions in SQL."""

__all__ = ["NUMBER", "is_number", "number_of"]

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""Regular expression of a number: decimal; a sign, decimal places and an exponent may be absent."""


def number_of(written: str) -> str:
    """Return an expression in SQL for the float64 that a string holds; null if it is not a number."""
    return f"case when regexp_full_match({written}, '{NUMBER}') then try_cast({written} as double) end"


def is_number(written: str) -> str:
    """Return a condition in SQL, true for the strings that hold a finite number."""
    return f"coalesce(isfinite({number_of(written)}), false)"
