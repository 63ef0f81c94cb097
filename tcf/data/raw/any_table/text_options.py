"""Files of format `table`, opened as the options say."""

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import ConfigError
from tcf.data.raw.any_table.table_options import TableOptions, TextOptions
from tcf.data.tables.open_table import default_form, format_of, open_table
from tcf.data.tables.several_tables import ListedFile, open_several
from tcf.data.tables.table import TableFile, source_words
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

__all__ = ["mention_quotes", "open_files", "refuse_unused"]

logger = logging.getLogger(__name__)

_SHOWN = 80


def open_files(files: Sequence[ListedFile], text: TextOptions, header_option: str) -> TableFile:
    """Open the files of a list.

    Args:
        files: the files.
        text: what the options say about text files.
        header_option: the option that `text.header` comes from, for messages.

    Raises:
        DataError: a file cannot be read, is damaged or has no usable header, or a header from the options does not fit
            its first record.
    """

    def open_file(path: Path) -> TableFile:
        table = open_table(path, _form(path, text))
        if text.header is not None and isinstance(table, TextTable):
            table.check_header(header_option)
        return table

    return open_several(files, open_file)


def _form(path: Path, text: TextOptions) -> TextForm:
    form = default_form(path)
    return TextForm(
        delimiter=form.delimiter if text.delimiter is None else text.delimiter,
        quoting=form.quoting if text.quotes is None else text.quotes == "csv",
        header=text.header,
        encoding=form.encoding if text.encoding is None else text.encoding,
        may_span=text.quotes == "csv",
    )


def refuse_unused(options: TableOptions, events: Sequence[ListedFile], items: Sequence[ListedFile]) -> None:
    """Refuse options about text files if none of the files that they concern is one.

    Args:
        options: the options.
        events: the files of events.
        items: those of items, if they have files of their own.

    Raises:
        ConfigError: such an option is given.
    """
    for name in (entry.name for entry in fields(TextOptions)):
        of_all, of_items = getattr(options.text, name), getattr(options.items_text, name)
        concerned = [*events, *(items if of_items is None and name != "header" else ())]
        for given, option, files in ((of_all, f"--{name}", concerned), (of_items, f"--items-{name}", items)):
            if given is None:
                continue
            if not files:
                raise ConfigError(f"{option}: expected files of items, found only those of events; leave it out")
            formats = ("text", "json") if name == "encoding" else ("text",)
            if not any(format_of(file.path) in formats for file in files):
                wanted = "a text file or JSON lines" if name == "encoding" else "a text file"
                raise ConfigError(
                    f"{option}: expected {wanted}, found only {source_words(files[0].path, len(files))}; leave it out"
                )


def mention_quotes(texts: "pa.LargeStringArray", files: Sequence[ListedFile], text: TextOptions) -> None:
    """Log a warning if most texts, (n,), stand in quotes, which were taken for characters: most likely they are not.

    Args:
        texts: texts of items.
        files: where they come from.
        text: what the options say about these files.
    """
    if text.quotes is not None or not any(format_of(file.path) == "text" for file in files):
        return
    quoted = texts.filter(pc.match_substring_regex(texts, '(?s)^".*"$'))
    if 2 * len(quoted) > len(texts):
        shown = quoted[0].as_py()[:_SHOWN]
        logger.warning(
            f"{len(quoted)} of {len(texts)} item texts begin and end with a quote, such as {shown}; "
            "if quotes enclose the fields of the file, read it with --quotes csv; --quotes none says that they do not"
        )
