"""Text from outside, made harmless for a terminal: every place that prints passes its text through here.

A title, an id, a path or a key may hold characters that a terminal obeys (ESC, BEL and the rest of C0 and C1), that
change the direction of what follows, or that look like the end of a line. Files keep texts as they are.
"""

import re

__all__ = ["printable", "printable_json", "printable_lines"]

# Controls; bidirectional marks, embeddings, overrides and isolates; separators of lines; the byte order mark and
# other marks that nothing shows; bytes that are not UTF-8. Joiners stay: emoji and several scripts need them.
_OBEYED = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
)
_IN_LINES = re.compile(f"[{_OBEYED}]")
_IN_A_LINE = re.compile(f"[{_OBEYED}\\t\\n]")


def printable(text: str) -> str:
    r"""Return a text for one line: what a terminal would obey, tabs and line breaks are shown as Python escapes.

    Applied again, it changes nothing.

    Example:
        >>> printable("Alien\x1b[2J\nproblem: none")
        'Alien\\x1b[2J\\nproblem: none'
    """
    return _IN_A_LINE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    r"""Return a text of several lines in the same way; its line breaks and tabs stay.

    Example:
        >>> printable_lines("first\nsecond\x07")
        'first\nsecond\\x07'
    """
    return _IN_LINES.sub(_escaped, text)


def printable_json(document: str) -> str:
    r"""Return a JSON document in the same way, with the escapes of JSON: it means the same.

    Example:
        >>> printable_json('{"title": "\x9b2J"}')
        '{"title": "\\u009b2J"}'
    """
    return _IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escaped(found: re.Match[str]) -> str:
    return ascii(found[0])[1:-1]
