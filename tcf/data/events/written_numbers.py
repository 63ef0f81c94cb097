"""Numbers in columns of strings, as expressions in SQL."""

__all__ = ["NUMBER", "are_numbers", "is_number", "number_of"]

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
"""Regular expression of a number: decimal; a sign, decimal places and an exponent may be absent."""


def number_of(written: str) -> str:
    """Return an expression in SQL for the float64 that a string holds; null if it is not a number."""
    return f"case when regexp_full_match({written}, '{NUMBER}') then try_cast({written} as double) end"


def is_number(written: str) -> str:
    """Return a condition in SQL, true for the strings that hold a finite number."""
    return f"coalesce(isfinite({number_of(written)}), false)"


def are_numbers(written: str) -> str:
    """Return a condition in SQL, true for the strings of finite numbers with one space between them, at least one.

    Only numbers that are long or have an exponent can be infinite, so few strings need the slow look at each number.
    """
    alike = f"regexp_full_match({written}, '{NUMBER}( {NUMBER})*')"
    others = f"list_filter(string_split({written}, ' '), lambda one: not {is_number('one')})"
    return (
        f"case when regexp_matches({written}, '[eE]|[0-9]{{300}}') then {alike} and len({others}) = 0 else {alike} end"
    )
