"""MIND, the Microsoft News Dataset, as published: folders with `news.tsv` and `behaviors.tsv`.

The raw folder is one of these folders (`MINDsmall_train`, `MINDlarge_dev`, ...) or contains several. Both files are
tab-separated without a header; quotes are ordinary characters.

`news.tsv`: id, category, subcategory, title, abstract, url, title_entities, abstract_entities. The text is the title,
or is made by a template from these columns. If several folders have an article, the first one in the order of their
names is used; rows that repeat its text are counted as `duplicate_item`, rows with another text as
`duplicate_item_other_text`.

`behaviors.tsv`: impression id, user, time, history (news ids, oldest first), impressions (`N1-1` clicked, `N2-0` not;
the test folders have neither -1 nor -0, so none of their impressions count as clicked).

**A user's history** is the longest history in any of the user's rows, followed by the clicks that it does not contain:

1. The rows of all folders are sorted by time; rows of one time are sorted by folder name, then line. Of a user's rows
   with the longest history, the first is used. In the published files a history is the clicks of the weeks before the
   period of the folder, so it is the same in nearly all rows of a user in a folder, and longer in a later folder.
   Shorter histories are its beginning, and are not read.
2. A click in that row or a later one happened after the history was recorded, so it is appended.
3. A click before that row may be in its history. If the history contains the item, the click is one of the history's
   events and is left out (`click_in_later_history`). Each occurrence in the history matches one click, the earliest
   clicks first, so an item that was clicked twice and occurs once in the history appears twice. If the history does
   not contain the item, the click is appended with the others.
4. The appended clicks are in the order of their rows, and within a row in the order of its impressions.

A user may have clicked an article long before the files begin, so that it is in the history, and again in a row before
that of the longest history. The occurrence is then matched with the click in the files: an event may be missed if an
article is read again, but none is counted twice.

**Times.** A click has the time of its row. The times of the events in a history are not published, only bounds: the
time of the user's first row whose history is long enough to contain the event (the user's first row, if histories do
not grow), the time of the click that an item is matched with, and the times of the items after it. An item gets the
earliest of these times. So a split by time trains on nothing that happened after its date. A click that is appended to
a history published later gets the time of the history's last item. Events of news that no `news.tsv` contains are left
out and counted as `unknown_item`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from
from tcf.data.events.checked_items import Pairs
from tcf.data.raw.mind.impressions import Impressions, look_up, read_histories, read_impressions
from tcf.data.raw.mind.merge_histories import (
    Clicks,
    MergedHistories,
    Published,
    longest_rows,
    merge_histories,
    places_in_time,
)
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.source_file import changed, require_folder, stamp_of
from tcf.data.tables.tsv_file import empty_strings, read_rows, read_text_file, select_strings
from tcf.data.text_template import Template, joined_columns

__all__ = ["mind_files", "read_mind"]

_BEHAVIORS, _NEWS = "behaviors.tsv", "news.tsv"
_COLUMNS = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_NEWS_FORM = f"one for each of {', '.join(_COLUMNS)}"
_EDITIONS = ("mindsmall", "mindlarge")

_ReadHistories = Callable[[npt.NDArray[np.int64]], tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]


@dataclass(frozen=True)
class _News:
    """The news of all folders.

    Attributes:
        ids: (n_items,) raw ids, distinct.
        texts: (n_items,), none empty.
        skipped_ids: ids of news without a text.
        files: sha256 of each file, by its path relative to the raw folder.
    """

    ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    skipped_ids: "pa.LargeStringArray"
    files: dict[str, str]


def mind_files(raw: Path) -> tuple[Path, ...]:
    """Find the files of the format in a folder and up to two levels below: both files of each published folder.

    Raises:
        DataError: there are none, one of a pair is missing, or there are folders of both MINDsmall and MINDlarge.
    """
    expected = f"expected {_BEHAVIORS} and {_NEWS}, or folders that hold them (MINDsmall_train, MINDsmall_dev, ...)"
    require_folder(raw)
    folders = sorted(file.parent for pattern in ("", "*/", "*/*/") for file in raw.glob(pattern + _BEHAVIORS))
    if not folders:
        raise DataError(f"{raw}: {expected}, found neither; name the folder that holds them")
    for folder in folders:
        if not (folder / _NEWS).is_file():
            raise DataError(f"{folder}: expected {_NEWS} next to {_BEHAVIORS}, found none; unpack the whole folder")
    editions = {edition for folder in folders for edition in _EDITIONS if folder.name.lower().startswith(edition)}
    if len(editions) > 1:
        raise DataError(
            f"{raw}: expected folders of one edition, found {', '.join(folder.name for folder in folders)}; MINDsmall "
            "is a part of MINDlarge, and its clicks would count twice: move one of them elsewhere"
        )
    return tuple(folder / name for folder in folders for name in (_BEHAVIORS, _NEWS))


def read_mind(raw: Path, *, bad_rows: Literal["error", "skip"], template: Template | None = None) -> RawLog:
    """Read the published folders of MIND.

    Args:
        raw: one published folder, or the parent of several.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `empty_id`, `empty_text`, `bad_timestamp`, `bad_impression`.
        template: the text of an item, made from the columns of `news.tsv`; None takes the title.

    Raises:
        ConfigError: `template` names a column that `news.tsv` lacks.
        DataError: a file is missing, empty, in another format, a copy of another or changes while it is read, or a row
            is unusable and not to be skipped.
    """
    files = mind_files(raw)
    stamps = [stamp_of(file) for file in files[::2]]
    bad = BadRows(bad_rows)
    news = _read_news(raw, files[1::2], template or joined_columns(["title"]), bad)
    # Ids of news without a text follow the others, so that their events can be distinguished from unknown ones.
    ids = pa.concat_arrays([news.ids, news.skipped_ids])
    read = [read_impressions(file, bad) for file in files[::2]]
    _refuse_copies(files[::2], [rows.sha256 for rows in read])
    checksums = {_name(raw, file): rows.sha256 for file, rows in zip(files[::2], read, strict=True)}
    if not any(len(rows.users) for rows in read):
        raise DataError(
            f"{files[0]}: expected rows, found none that can be used (skipped: {skipped_words(bad.skipped)}); check "
            "the file"
        )
    users = pa.chunked_array([rows.users for rows in read]).dictionary_encode().unify_dictionaries()
    numbers = np.concatenate([np.asarray(chunk.indices) for chunk in users.chunks]).astype(np.int64)
    names = users.chunk(0).dictionary

    def histories(wanted: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        found = _histories(files[::2], read, wanted, ids)
        for file, stamp in zip(files[::2], stamps, strict=True):
            if stamp_of(file) != stamp:
                raise changed(file)
        return found

    merged = _merged(read, numbers, len(names), ids, histories)
    bad.count("click_in_later_history", merged.absorbed)
    offsets, items, times = _known(merged, len(news.ids), files[0], bad)
    return RawLog(news.ids, news.texts, names, offsets, items, bad.skipped, {**checksums, **news.files}, times)


def _refuse_copies(files: Sequence[Path], checksums: Sequence[str]) -> None:
    first: dict[str, Path] = {}
    for file, checksum in zip(files, checksums, strict=True):
        if checksum in first:
            raise DataError(
                f"{file}: expected a file of its own, found a copy of {first[checksum]}, whose clicks would count "
                "twice; move one of the two folders elsewhere"
            )
        first[checksum] = file


def _name(raw: Path, file: Path) -> str:
    return file.relative_to(raw).as_posix()


def _read_news(raw: Path, files: Sequence[Path], template: Template, bad: BadRows) -> _News:
    rows, without_text, checksums = [], [], {}
    for path in files:
        template.check(_COLUMNS, path)
        file = read_text_file(path)
        checksums[_name(raw, path)] = file.sha256
        table = read_rows(file, len(_COLUMNS), _NEWS_FORM, bad)
        texts = template.fill({name: table.column(_COLUMNS.index(name)) for name in template.columns})
        pairs = Pairs(path, table.lines, table.column(0), texts)
        pairs = pairs.without(empty_strings(pairs.ids), "empty_id", "a news id", bad)
        no_text = empty_strings(pairs.values)
        without_text.append(select_strings(pairs.ids, no_text))
        rows.append(pairs.without(no_text, "empty_text", "news with a text", bad))
    ids, texts = _first_of_each([pairs.ids for pairs in rows], [pairs.values for pairs in rows], bad)
    if len(ids) == 0:
        raise DataError(
            f"{files[0]}: expected news, found none that can be used (skipped: {skipped_words(bad.skipped)}); check "
            "the file"
        )
    no_text_ids = pa.concat_arrays(without_text).unique()
    elsewhere = np.asarray(pc.is_in(no_text_ids, value_set=ids))
    return _News(ids, texts, select_strings(no_text_ids, ~elsewhere), checksums)


def _first_of_each(
    ids: Sequence["pa.LargeStringArray"], texts: Sequence["pa.LargeStringArray"], bad: BadRows
) -> tuple["pa.LargeStringArray", "pa.LargeStringArray"]:
    """Keep the first row of every id; count the others."""
    all_ids, all_texts = pa.concat_arrays(ids), pa.concat_arrays(texts)
    encoded = all_ids.dictionary_encode()
    number = np.asarray(encoded.indices)
    first = np.unique(number, return_index=True)[1]
    again = np.ones(len(all_ids), bool)
    again[first] = False
    same = np.asarray(pc.equal(all_texts, all_texts.take(pa.array(first[number]))))
    bad.count("duplicate_item", int((again & same).sum()))
    bad.count("duplicate_item_other_text", int((again & ~same).sum()))
    return encoded.dictionary, select_strings(all_texts, ~again)


def _merged(
    read: Sequence[Impressions], users: npt.NDArray[np.int64], n_users: int, ids: "pa.Array", histories: _ReadHistories
) -> MergedHistories:
    """Merge histories and clicks into every user's events."""
    published = Published(users, *(np.concatenate([getattr(r, name) for r in read]) for name in ("times", "lengths")))
    before = _rows_before(read)
    clicks = Clicks(
        np.concatenate([rows.click_rows + start for rows, start in zip(read, before[:-1], strict=True)]),
        np.concatenate([look_up(rows.click_ids, ids) for rows in read]),
    )
    places = places_in_time(published.times)
    longest = longest_rows(published, places, n_users)
    counts, items = histories(np.sort(longest))
    # Histories are read in row order; users are in the order of their first rows.
    order = np.searchsorted(np.sort(longest), longest)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets_from(counts)), pa.array(items)).take(pa.array(order))
    return merge_histories(published, places, longest, counts[order], lists.flatten().to_numpy(), clicks)


def _rows_before(read: Sequence[Impressions]) -> npt.NDArray[np.int64]:
    """Return where the rows of each file begin among those of all files."""
    return offsets_from(np.array([len(rows.times) for rows in read]))


def _histories(
    files: Sequence[Path], read: Sequence[Impressions], wanted: npt.NDArray[np.int64], ids: "pa.Array"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return lengths and items of the histories of the wanted rows, which rise."""
    found = []
    for file, rows, (start, stop) in zip(files, read, pairwise(_rows_before(read).tolist()), strict=True):
        mine = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)] - start
        found.append(read_histories(file, rows.starts[mine], rows.stops[mine], ids))
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def _known(
    merged: MergedHistories, n_items: int, behaviors: Path, bad: BadRows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return offsets, items and times of the events of usable news; the others are counted."""
    known = (merged.items >= 0) & (merged.items < n_items)
    if known.all():
        return merged.offsets, merged.items, merged.times
    if not known.any():
        raise DataError(
            f"{behaviors}: expected news ids that {_NEWS} contains, found none in {len(known)} events; check that the "
            "files belong together"
        )
    bad.count("event_of_skipped_item", int((merged.items >= n_items).sum()))
    bad.count("unknown_item", int((merged.items < 0).sum()))
    offsets = offsets_from(known.astype(np.int64))[merged.offsets]
    return offsets, merged.items[known], merged.times[known]
