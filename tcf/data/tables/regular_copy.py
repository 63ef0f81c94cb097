"""Copies of text files that DuckDB reads as this program defines them (see `text_form`)."""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tcf.common.errors import DataError
from tcf.common.files import writing
from tcf.data.tables.text_form import BLANK, TORN, TextForm
from tcf.data.tables.text_lines import LONGEST_LINE, kept_lines, normalized

__all__ = ["beside_quotes", "unclosed", "write_regular"]

_BOM = b"\xef\xbb\xbf"


def write_regular(path: Path, form: TextForm, to: Path, torn: list[bytes] | None = None, torn_end: str = "") -> None:
    """Write a copy of a file that DuckDB reads as this program defines it.

    Args:
        path: the file.
        form: its format.
        to: the copy.
        torn: a list to add the records to in which text follows a closing quote. DuckDB would not find the records
            after them. In the copy, each of their lines is `TORN`, the first one followed by the place in the list;
            None does not look for them.
        torn_end: ends these lines, so that they differ from rows in the number of columns.

    Raises:
        DataError: a quote is not closed, where `torn` is a list.
    """
    blocks = _marked(kept_lines(path, form), form)
    with writing(to), to.open("wb") as out:
        out.write(_BOM)  # the engine removes one, as this program has: a second one is text
        for block in blocks if torn is None else _without_torn(blocks, form, path, torn, torn_end):
            out.write(block)


def beside_quotes(block: bytes, form: TextForm) -> list[re.Pattern[bytes]]:
    """Return patterns for spaces before an opening quote, and for a closing quote before spaces.

    One pattern with alternatives would take several times as long as these, each of which begins with known bytes.
    """
    between = re.escape(form.delimiter.encode())
    patterns = list[bytes]()
    if form.delimiter == " ":
        return []
    if b' "' in block:
        patterns += [rb'%b +(?=")' % between, rb'^ +(?=")']
    if b'" ' in block:
        patterns += [rb'"(?= +(?:%b|"|$))' % between]
    return [re.compile(pattern, re.MULTILINE) for pattern in patterns]


def unclosed(path: Path, line: int, where: str) -> DataError:
    """Return the error for a record with a quote that is not closed."""
    return DataError(
        f"{path}:{line}: expected a record with closed quotes, found a quote that is still open at {where}; close it"
    )


def _marked(blocks: Iterator[bytes], form: TextForm) -> Iterator[bytes]:
    """Normalize blocks, and mark blank lines and spaces beside quotes."""
    for block in blocks:
        text = normalized(block)
        if b"\n\n" in text or text[:1] == b"\n":
            text = re.sub(rb"^(?=\n)", BLANK.encode(), text, flags=re.MULTILINE)
        for pattern in beside_quotes(text, form) if form.quoting else ():
            text = pattern.sub(_guarded, text)
        yield text


def _without_torn(blocks: Iterator[bytes], form: TextForm, path: Path, torn: list[bytes], end: str) -> Iterator[bytes]:
    """Replace torn records; a record may go on in the next block."""
    between = re.escape(form.delimiter.encode())
    quoted = rb'"[^"]*+(?:""[^"]*+)*+"'
    # A field that begins with a quote and lacks the closing one is incomplete: then neither pattern matches.
    strict = rb'(?:%b|(?!")(?:(?!%b)[^\n])*+)' % (quoted, between)
    loose = rb'(?:%b|(?!"))(?:(?!%b)[^\n])*+' % (quoted, between)
    whole, broken = (
        re.compile(rb"(?:(?:%b%b)*+%b\n)%b" % (f, between, f, n)) for f, n in ((strict, b"++"), (loose, b""))
    )
    rest, line, waiting = b"", 1, list[bytes]()
    for block in chain(blocks, [b""]):
        waiting.append(block)
        # A long record is looked at again only when it has doubled, so that the time stays linear.
        if block and sum(map(len, waiting)) < len(rest):
            continue
        data, at, waiting = b"".join([rest, *waiting]), 0, []
        while found := whole.match(data, at) or broken.match(data, at):
            n_lines = found[0].count(b"\n")
            if found.re is broken:
                yield f"{TORN}{len(torn)}{end}\n".encode() + (n_lines - 1) * f"{TORN}{end}\n".encode()
                torn.append(found[0][:-1])
            else:
                yield found[0]
            at, line = found.end(), line + n_lines
        rest = data[at:]
        if len(rest) > LONGEST_LINE:
            raise unclosed(path, line, f"{LONGEST_LINE >> 20} MiB after it")
    if rest:
        raise unclosed(path, line, "the end of the file")


def _guarded(found: re.Match[bytes]) -> bytes:
    return found[0] + TORN.encode()
