"""The rows of MIND's `behaviors.tsv`, read in blocks of lines in two passes, so that the file is never all in memory.

The first pass keeps a few numbers for every row: its user, its time, the length of its history and the position of that
history in the file, and the clicked impressions. The second pass reads the requested histories by position. NumPy
splits the blocks at the bytes that separate fields and items, on a few threads.
"""

import hashlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.threads import ordered_map
from tcf.data.raw.mind.line_blocks import BLOCK, LineBlock, blocks_of
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.source_file import changed
from tcf.data.tables.tsv_file import TextFile, TsvRows, empty_strings, select_strings, split_fields

__all__ = ["Impressions", "look_up", "read_histories", "read_impressions"]

_THREADS = 2
_COLUMNS = 5
_FORM = "an impression id, a user id, a time, a history and impressions, separated by tabs"
_TIME_FORM = "a time such as 11/12/2019 2:14:46 PM"
_TIME_FORMAT = "%m/%d/%Y %I:%M:%S %p"
_IMPRESSION_FORM = "impressions such as `N1-1 N2-0`, or ids none of which has -1 or -0"
_TAB, _NEWLINE, _DASH, _ONE = 9, 10, 45, 49
_SPACE = 32  # bytes up to this separate ids: a space, or a control character, which does not belong there
_SEPARATORS = np.array([_TAB, _TAB, _TAB, _TAB, _NEWLINE], np.uint8)

_Ints = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Impressions:
    """The rows of a file, without the items of their histories.

    Attributes:
        users: (n_rows,) raw ids.
        times: (n_rows,) int64, seconds since 1970.
        lengths: (n_rows,) int64, items in the row's history.
        starts: (n_rows,) int64, position of the history's first byte in the file.
        stops: (n_rows,) int64, one past the history's last byte.
        click_rows: (n_clicks,) int64, rising: the row of each clicked impression.
        click_ids: (n_clicks,) raw ids of the clicked items.
        sha256: checksum of the file.
    """

    users: "pa.LargeStringArray"
    times: _Ints
    lengths: _Ints
    starts: _Ints
    stops: _Ints
    click_rows: _Ints
    click_ids: "pa.LargeStringArray"
    sha256: str


class _DeferredBadRows(BadRows):
    """Rejected rows of one block, kept until those of all blocks are known."""

    def __init__(self) -> None:
        super().__init__("skip")
        self.notes: list[tuple[str, str, _Ints, str]] = []

    def reject(
        self,
        reason: str,
        path: Path,
        lines: _Ints,
        expected: str,
        found: Callable[[int], str],
        unit: Literal["line", "row"] = "line",
        *,
        so_far: bool = False,
    ) -> None:
        """Keep the rows, and a description of the first one."""
        if len(lines):
            self.notes.append((reason, expected, lines, found(0)))


def read_impressions(path: Path, bad: BadRows) -> Impressions:
    """Read a `behaviors.tsv` without the items of its histories.

    Args:
        path: the file.
        bad: raises an error for unusable rows, or counts them: `nul_byte`, `bad_utf8`, `wrong_columns`,
            `bad_timestamp`, `empty_id`, `bad_impression`.

    Raises:
        DataError: the file cannot be read, is empty or changes while it is read, or a row is unusable and `bad` does
            not skip.
    """
    digest = hashlib.sha256()
    parts: list[Impressions] = []
    notes: list[_DeferredBadRows] = []

    def parse(block: LineBlock) -> tuple[Impressions, _DeferredBadRows]:
        noted = _DeferredBadRows()
        return _parse(path, block, noted), noted

    for part, noted in ordered_map(parse, blocks_of(path, digest.update), _THREADS):
        parts.append(part)
        notes.append(noted)
    _reject_all(path, notes, bad)
    rows_before = np.cumsum([0, *(len(part.times) for part in parts[:-1])])
    clicks = [part.click_rows + before for part, before in zip(parts, rows_before, strict=True)]
    return Impressions(
        pa.concat_arrays([part.users for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.stops for part in parts]),
        np.concatenate(clicks),
        pa.concat_arrays([part.click_ids for part in parts]),
        digest.hexdigest(),
    )


def read_histories(
    path: Path, starts: _Ints, stops: _Ints, item_ids: "pa.LargeStringArray"
) -> tuple[_Ints, npt.NDArray[np.int32]]:
    """Read histories by their positions in a file.

    Args:
        path: the file.
        starts: (n,) position of each history's first byte, rising.
        stops: (n,) one past each history's last byte.
        item_ids: raw ids in which items are looked up.

    Returns:
        The length of each history, (n,), and the concatenated items of all histories as positions in `item_ids`; -1 for
        an unknown id.
    """
    cuts = np.flatnonzero(np.diff(starts // (4 * BLOCK))) + 1
    bounds = [0, *cuts.tolist(), len(starts)] if len(starts) else []

    def read(rows: slice) -> tuple[_Ints, npt.NDArray[np.int32]]:
        first, last = int(starts[rows.start]), int(stops[rows.stop - 1])
        with path.open("rb") as stream:
            data = np.frombuffer(os.pread(stream.fileno(), last - first, first), np.uint8)
        if len(data) < last - first:
            raise changed(path)
        return _items_of(data, starts[rows] - first, stops[rows] - first, item_ids)

    slices = (slice(start, stop) for start, stop in itertools.pairwise(bounds))
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int32)), *ordered_map(read, slices, _THREADS)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _reject_all(path: Path, notes: list[_DeferredBadRows], bad: BadRows) -> None:
    """Reject the deferred rows of all blocks, all rows of one reason together, so that a message counts them all."""
    every = [note for noted in notes for note in noted.notes]
    for reason in dict.fromkeys(note[0] for note in every):
        alike = [note for note in every if note[0] == reason]
        _, expected, _, shown = alike[0]
        bad.reject(reason, path, np.concatenate([note[2] for note in alike]), expected, _always(shown))


def _always(text: str) -> Callable[[int], str]:
    return lambda _: text


def _parse(path: Path, block: LineBlock, bad: BadRows) -> Impressions:
    rows, offsets = _rows_of(path, block, bad)
    users, times = rows.column(1), _seconds(rows.column(2))
    gaps = rows.data <= _SPACE
    words = _word_starts(gaps)
    starts, stops = rows.stops[:, 2] + 1, rows.stops[:, 3]
    first, last, end = (np.searchsorted(words, places) for places in (starts, stops, rows.stops[:, 4]))
    clicks, click_rows, wrong = _clicks(rows, gaps, end - last)
    use = _usable(rows, users, times, wrong, bad)
    clicks, click_rows = clicks[use[click_rows]], click_rows[use[click_rows]]
    at = np.searchsorted(words, clicks) - 1
    numbers = np.cumsum(use) - 1
    return Impressions(
        select_strings(users, use),
        times.filter(pa.array(use)).to_numpy(),
        (last - first)[use],
        (starts + offsets)[use],
        (stops + offsets)[use],
        numbers[click_rows],
        _strings(rows.data, words[at], clicks),
        "",
    )


def _rows_of(path: Path, block: LineBlock, bad: BadRows) -> tuple[TsvRows, _Ints]:
    """Return the well-formed rows, and for each, (n_rows,), the offset from positions in their data to the file."""
    data = block.data
    found = np.flatnonzero((data == _TAB) | (data == _NEWLINE))
    whole = len(found) % _COLUMNS == 0 and not (data[found].reshape(-1, _COLUMNS) != _SEPARATORS).any()
    if whole and data.min() and data.max() < 0x80:
        stops = found.reshape(-1, _COLUMNS)
        return TsvRows(path, np.arange(len(stops)) + block.line, data, stops), np.full(len(stops), block.start)
    ends = np.flatnonzero(data == _NEWLINE)
    file = TextFile(path, "", data, ends, block.line)
    rows = split_fields(file, _COLUMNS, _FORM, bad)
    there = file.starts[rows.lines - block.line]
    here = np.concatenate([np.zeros(1, np.int64), rows.stops[:-1, -1] + 1])[: len(rows)]
    return rows, there - here + block.start


def _usable(rows: TsvRows, users: "pa.LargeStringArray", times: "pa.Int64Array", wrong: _Flags, bad: BadRows) -> _Flags:
    """Return which rows are usable, (n_rows,); each of the others is rejected for one reason."""
    use = np.ones(len(rows), bool)
    for reason, expected, flags, column in (
        ("empty_id", "a user id", empty_strings(users), 1),
        ("bad_timestamp", _TIME_FORM, ~np.asarray(times.is_valid()), 2),
        ("bad_impression", _IMPRESSION_FORM, wrong, 4),
    ):
        found = np.flatnonzero(flags & use)
        if len(found):
            shown = repr(rows.column(column)[int(found[0])].as_py())
            bad.reject(reason, rows.path, rows.lines[found], expected, _always(shown))
        use &= ~flags
    return use


def _seconds(written: "pa.LargeStringArray") -> "pa.Int64Array":
    """Parse times to seconds since 1970, (n_rows,); null if malformed."""
    parsed = pc.strptime(written, format=_TIME_FORMAT, unit="s", error_is_null=True)
    # A day beyond the end of its month, such as 2/30, is parsed as one of the first days of the next month.
    early = np.flatnonzero(np.asarray(pc.less_equal(pc.day(parsed), 3).fill_null(False)))
    found = pc.struct_field(pc.extract_regex(written.take(pa.array(early)), r"^\s*\d+\s*/\s*0*(?P<day>\d+)"), [0])
    real = pc.equal(found, pc.day(parsed.take(pa.array(early))).cast(found.type)).fill_null(False)
    missing = np.zeros(len(written), bool)
    missing[early[~np.asarray(real)]] = True
    return pc.if_else(pa.array(missing), None, parsed.cast(pa.int64()))


def _word_starts(gaps: _Flags) -> _Ints:
    """Return where words begin after spaces and separators, rising; only those of the last two fields are used."""
    starts = ~gaps
    starts[1:] &= gaps[:-1]
    return np.flatnonzero(starts)


def _clicks(rows: TsvRows, gaps: _Flags, n_words: _Ints) -> tuple[_Ints, _Ints, _Flags]:
    """Find clicked impressions, given the bytes that are gaps, (n_bytes,), and the impressions in each row, (n_rows,).

    Returns:
        The position of each clicked impression's dash and its row, (n_clicks,) both, and which rows mix labelled and
        unlabelled impressions or have labels without ids, (n_rows,).
    """
    data, begins, ends = rows.data, rows.stops[:, 3], rows.stops[:, 4]
    labels = (data[1:-1] | 1) == _ONE  # 0 or 1
    labels &= data[:-2] == _DASH
    labels &= gaps[2:]
    wrong = np.zeros(len(rows), bool)
    if np.count_nonzero(labels) not in (0, n_words.sum()):
        labelled = np.flatnonzero(labels)
        n_labels = np.searchsorted(labelled, ends) - np.searchsorted(labelled, begins)
        wrong = (n_labels > 0) & (n_labels != n_words)
    no_id = np.flatnonzero(labels[1:] & gaps[: max(len(labels) - 1, 0)]) + 1
    rows_of_those = np.searchsorted(ends, no_id)
    wrong[rows_of_those[no_id > begins[rows_of_those]]] = True
    labels &= data[1:-1] == _ONE
    clicks = np.flatnonzero(labels)
    owners = np.searchsorted(ends, clicks)
    inside = clicks > begins[owners]
    return clicks[inside], owners[inside], wrong


def _strings(data: _Bytes, starts: _Ints, stops: _Ints) -> "pa.LargeStringArray":
    """Return the texts between positions, which rise and do not overlap."""
    if not len(starts):
        return pa.array([], pa.large_string())
    bounds = np.stack([starts, stops], axis=1).ravel()
    pieces = pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(data))
    return pieces.take(pa.array(np.arange(0, len(bounds), 2)))


def look_up(ids: "pa.LargeStringArray", among: "pa.LargeStringArray") -> npt.NDArray[np.int32]:
    """Return the position of each id in `among`, (n,) int32; -1 for an unknown id."""
    found: npt.NDArray[np.int32] = np.asarray(pc.index_in(ids, value_set=among).fill_null(-1))
    return found


def _items_of(
    data: _Bytes, starts: _Ints, stops: _Ints, item_ids: "pa.LargeStringArray"
) -> tuple[_Ints, npt.NDArray[np.int32]]:
    """Return lengths and items of the histories at these positions, as `read_histories` does."""
    text = np.frombuffer(_strings(data, starts, stops).buffers()[2], np.uint8)
    ends = np.cumsum(stops - starts)
    blank = text <= _SPACE
    begins = ~blank
    borders = np.zeros(len(text) + 1, bool)
    borders[ends] = True
    borders[0] = True
    begins[1:] &= blank[:-1] | borders[1:-1]
    words = np.flatnonzero(begins)
    counts = np.diff(np.searchsorted(words, ends), prepend=0)
    joined = text[~blank]
    lengths = np.diff(words - np.cumsum(blank)[words], append=len(joined)) if len(words) else np.zeros(0, np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    ids = pa.LargeStringArray.from_buffers(len(words), pa.py_buffer(offsets), pa.py_buffer(joined))
    return counts, look_up(ids, item_ids)
