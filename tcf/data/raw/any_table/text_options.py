"""Files of format `table`, opened as the options say."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.data.raw.any_table.table_options import TableOptions, TextOptions
from tcf.data.tables.open_table import default_form, format_of, open_table
from tcf.data.tables.several_tables import ListedFile, open_several
from tcf.data.tables.table import TableFile, source_words
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable

__all__ = ["open_files", "refuse_unused"]


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
