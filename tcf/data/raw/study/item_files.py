"""Item files of the study's raw format and related ones: an id and one or several text columns.

A `.tsv` is split at tabs, and quotes are ordinary characters; a `.csv` is comma-separated with quotes around fields
that contain a comma, as pandas writes and reads it. A header, if there is one, names the columns. Without a header, the
columns after the id are:

- if there is one: `title`, which is its name whatever a header says;
- if there are two in a `.tsv` without one of the study's names: `title` and `abstract` (`westlake-repl/IDvs.MoRec`,
  bce_text/main-end2end/data_utils/preprocess.py); the study's own files without a header have one;
- if there are two in a `.csv`: `title_zh` and `title_en` (`westlake-repl/NineRec`, README.md on `QB_item.csv`, which is
  read without a header in Baseline/BERT4Rec/BERT4Rec_txt/data_utils/preprocess.py).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import ConfigError, DataError
from tcf.data.events.checked_items import Items, Pairs, check_items
from tcf.data.raw.ratings import whole_table
from tcf.data.raw.study.file_names import STUDY_ITEMS, is_item_column
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.open_table import open_table
from tcf.data.tables.records import TextForm
from tcf.data.tables.table import listed_columns
from tcf.data.tables.tsv_file import TextFile, read_rows, read_text_file
from tcf.data.text_template import Template, joined_columns

__all__ = ["ItemRows", "items_of", "read_item_rows"]

_TITLE = "title"
_ITEM_FORM = "an item id, a tab and a title"
_DEFAULTS = ("title_en", _TITLE)  # the study's encoders read English
_TAB = 9


@dataclass(frozen=True)
class ItemRows:
    """The rows of an item file.

    Attributes:
        path: the file.
        sha256: its checksum.
        lines: (n_rows,) int64, line numbers from 1.
        ids: (n_rows,) raw ids.
        names: names of the text columns, at least one; None if they come from a header that has not been read yet.
        columns: the text columns, (n_rows,) each.
    """

    path: Path
    sha256: str
    lines: npt.NDArray[np.int64]
    ids: "pa.LargeStringArray"
    names: tuple[str, ...] | None
    columns: tuple["pa.LargeStringArray", ...]

    @property
    def pairs(self) -> Pairs:
        """Ids and the first text column."""
        return Pairs(self.path, self.lines, self.ids, self.columns[0])

    def after_header(self) -> "ItemRows":
        """Return the rows after the first one, which is the header."""
        names = tuple(column[0].as_py() for column in self.columns) if len(self.columns) > 1 else self.names
        columns = tuple(column[1:] for column in self.columns)
        return replace(self, lines=self.lines[1:], ids=self.ids[1:], names=names, columns=columns)


def read_item_rows(path: Path, bad: BadRows) -> ItemRows:
    """Read an item file; a header, if there is one, is returned as the first row.

    Raises:
        DataError: the file cannot be read, is empty or in another format, or a row is unusable and `bad` does not skip.
    """
    return _csv_rows(path, bad) if path.suffix.casefold() == ".csv" else _tsv_rows(path, bad)


def items_of(rows: ItemRows, template: Template | None, bad: BadRows) -> Items:
    """Return the usable items, with their texts.

    Args:
        rows: the rows, without a header.
        template: the text of an item, made from the columns; None takes the only column, or `title_en`, or `title`.
        bad: raises an error for unusable rows, or counts them: `empty_id`, `empty_text`, `duplicate_item`.

    Raises:
        ConfigError: `template` names another column, or a template is required.
        DataError: a row is unusable and `bad` does not skip, or no row is left.
    """
    if rows.names is None:
        raise DataError(
            f"{rows.path}:1: expected an item id and one or two text columns, or a header that begins with item_id, "
            f"found {len(rows.columns) + 1} columns; remove the others, or name the format of the files"
        )
    template = template or _default(rows.path, rows.names)
    template.check(rows.names, rows.path)
    if len(rows.columns) == 1:
        # The text is empty exactly if the title is, so the rows can be checked, and shown in messages, as written.
        checked = check_items(rows.pairs, bad)
        return replace(checked, texts=template.fill({_TITLE: checked.texts}))
    texts = template.fill(dict(zip(rows.names, rows.columns, strict=True)))
    return check_items(Pairs(rows.path, rows.lines, rows.ids, texts), bad)


def _default(path: Path, names: tuple[str, ...]) -> Template:
    for name in _DEFAULTS:
        if name in names:
            return joined_columns([name])
    raise ConfigError(
        f"--text-columns: {path} has no column {' or '.join(_DEFAULTS)}; name the columns that make up the text, from "
        f"{listed_columns(names)}, or give a --template"
    )


def _tsv_rows(path: Path, bad: BadRows) -> ItemRows:
    file = read_text_file(path)
    plain = path.name in STUDY_ITEMS and not is_item_column(file.first_line.split("\t")[0])
    number = 2 if plain else _most_frequent_width(file)
    form = _ITEM_FORM if number == 2 else f"as most lines of {path.name} have"
    rows = read_rows(file, number, form, bad)
    return _item_rows(path, file.sha256, rows.lines, [rows.column(at) for at in range(number)], ("title", "abstract"))


def _csv_rows(path: Path, bad: BadRows) -> ItemRows:
    first = open_table(path, TextForm())
    names = tuple(str(number) for number in range(len(first.columns)))
    if len(names) < 2:
        raise DataError(
            f"{path}:1: expected an item id, a comma and a title, found {first.columns[0][:80]!r}; separate the "
            "columns with commas"
        )
    table = open_table(path, TextForm(header=names))
    rows = whole_table(table, names, bad)
    columns = [rows.columns[name] for name in names]
    return _item_rows(path, table.sha256, rows.lines, columns, ("title_zh", "title_en"))


def _item_rows(
    path: Path,
    sha256: str,
    lines: npt.NDArray[np.int64],
    columns: list["pa.LargeStringArray"],
    two_names: tuple[str, str],
) -> ItemRows:
    names = {1: (_TITLE,), 2: two_names}.get(len(columns) - 1)
    return ItemRows(path, sha256, lines, columns[0], names, tuple(columns[1:]))


def _most_frequent_width(file: TextFile) -> int:
    """Return the most frequent number of fields in a line, at least two; of equally frequent ones, the smallest."""
    tabs = np.flatnonzero(file.data == _TAB)
    numbers = np.bincount(np.diff(np.searchsorted(tabs, file.ends), prepend=0) + 1)
    return max(int(np.argmax(numbers[2:])) + 2, 2) if len(numbers) > 2 else 2
