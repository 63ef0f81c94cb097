"""RecBole's atomic files: interactions `NAME.inter` and items `NAME.item` in a folder, tab-separated, typed headers.

**Files.** One `NAME.inter`, or the parts of a split (`benchmark_filename` in RecBole): `NAME.train.inter` with
`NAME.valid.inter` (or `.validation`, `.val`, `.dev`), `NAME.test.inter` or both. If a folder has both, `--split` must
be given: `given` reads the parts, another split `NAME.inter`.

**Interactions** have the columns `user_id` (or `session_id`) and `item_id`. If there is a column `timestamp`, each
user's events are sorted by it, and events of one time keep the order of the file; otherwise all events do. A split's
parts follow one another, whatever the times.

If there is a column `item_id_list`, a row is a list of earlier items and the item after it. Rows that repeat one
another become one history (`tcf.data.raw.benchmark.connect_lists`); `timestamp_list` has the times of the list, one for
each item.

A column `label` or `rating` may mark rows that are no events, such as news that was shown and not clicked. So the user
must say from which label or rating on a row is an event.

**Items** need `item_id` and at least one text column. Other columns and files are ignored. A template makes the text of
an item from columns of any type, named without their types. Without a template, the text is the one column whose name
ends with `title` or `name`, or else contains one of these words; if there are several such columns, or none, the user
must name the columns.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from tcf.common.errors import ConfigError, DataError
from tcf.data.events.group_events import Grouped, group_events, with_ids
from tcf.data.events.had_items import noting_had
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import Items, read_items
from tcf.data.events.timestamps import read_numbers
from tcf.data.raw.benchmark.item_lists import require_list_times
from tcf.data.raw.benchmark.one_table import EventColumns, one_table
from tcf.data.raw.benchmark.split_files import EventFiles, SplitKind, event_files, part_of
from tcf.data.raw.ratings import Rated, leave_out_lower, require_numbers, undecided
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import RawTable, lacks_column, listed_columns
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import Template, joined_columns

__all__ = ["RecboleOptions", "read_recbole", "recbole_files", "recbole_paths"]

_FORM = TextForm("\t", quoting=False)
_TYPES = ("token", "token_seq", "float", "float_seq")
_TITLE_LIKE = ("title", "name")
_USER, _SESSION, _ITEM, _TIME = "user_id", "session_id", "item_id", "timestamp"
_ITEMS, _TIMES = "item_id_list", "timestamp_list"
_LABEL: Final = "label"
_RATING: Final = "rating"


@dataclass(frozen=True)
class RecboleOptions:
    """Settings of this format.

    Attributes:
        min_label: leave out rows with a lower label, and count them (`below_min_label`).
        min_rating: leave out rows with a lower rating, and count them (`below_min_rating`).
        split: decides between one file and the parts of a split.
    """

    min_label: float | None = None
    min_rating: float | None = None
    split: SplitKind = None


def recbole_files(folder: Path, split: SplitKind = None) -> tuple[EventFiles, Path]:
    """Find the files of the format in a folder: interactions and items.

    Raises:
        ConfigError: there are interactions of two kinds, and no split says which to use.
        DataError: a file is missing, or there are several of a kind.
    """
    expected = (
        "expected one NAME.inter, or NAME.train.inter with NAME.valid.inter and NAME.test.inter, and one NAME.item of "
        "the same NAME"
    )
    require_folder(folder)
    interactions, items = (sorted(folder.glob(f"*{suffix}")) for suffix in (".inter", ".item"))
    chosen = event_files(folder, {path: path.stem for path in interactions}, split)
    if chosen is None or [chosen.name] != [path.stem for path in items]:
        found = ", ".join(path.name for path in (*interactions, *items)) or "neither"
        raise DataError(f"{folder}: {expected}, found {found}; name a folder with one dataset")
    return chosen, items[0]


def recbole_paths(folder: Path, split: SplitKind = None) -> tuple[Path, ...]:
    """Return the files that `recbole_files` finds, one after another."""
    events, items = recbole_files(folder, split)
    return (*events.paths, items)


def read_recbole(
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
    options: RecboleOptions = RecboleOptions(),
) -> RawLog:
    """Read RecBole's atomic files.

    Args:
        engine: reads and orders the rows.
        folder: the folder of the files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `empty_id`, `empty_text`, `duplicate_item`, `bad_timestamp`, `bad_label`,
            `bad_rating`, `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from columns of the item file; None takes the one title-like column.
        unescape_html: whether character references in texts become characters.
        options: which rows are events, and which files are read.

    Raises:
        ConfigError: `template` names a column that the item file lacks, or a template is required; it must be said
            which rows are events, or which files are to be read.
        DataError: a file is missing, empty, in another format or a copy of another, or a row is unusable and not to be
            skipped; the files of a split have ids or times of different columns.
    """
    files, items_path = recbole_files(folder, options.split)
    bad = BadRows(bad_rows)
    items_file, interactions = TextTable(items_path, _FORM), [TextTable(path, _FORM) for path in files.paths]
    described = _typed_columns(items_file, (_ITEM,))
    logged = [_typed_columns(file, (_USER, _ITEM)) for file in interactions]
    user = _USER if all(_USER in typed for typed in logged) else _SESSION
    _check_alike(files.paths, logged, user, options)
    template = template or joined_columns([_title_like(items_path, described)])
    template.check(tuple(described), items_path)
    rows = _load(engine, items_file, described, tuple(dict.fromkeys((_ITEM, *template.columns))), bad)
    rows, columns = text_columns(rows, template.columns, unescape_html)
    items = read_items(rows, rows[_ITEM], template.text(columns), bad)
    loaded = [_load_events(engine, *file, user, options, bad) for file in zip(interactions, logged, strict=True)]
    log = _group(loaded, files, user, items, options, bad)
    return RawLog.of(items, log, bad.skipped, (*loaded, rows))


def _load_events(
    engine: Engine, file: TextTable, typed: Mapping[str, str], user: str, options: RecboleOptions, bad: BadRows
) -> RawTable:
    """Read the rows of a file of interactions; those with too low a label are no events."""
    rated = _rated(typed, options)
    optional = [name for name in (_TIME, _ITEMS, _TIMES) if name in typed]
    events = _load(engine, file, typed, (user, _ITEM, *optional, *rated), bad)
    events = with_ids(events, user, _ITEM, bad)
    if user == _SESSION:
        events = replace(events, note_had=None)  # the sessions that rows belong to are not known yet
    for kind, least in rated.items():
        if least is None:
            raise undecided(events, kind, kind)
        require_numbers(events, kind, bad, kind=kind)
    if _LABEL in rated:
        # A row without a rating and with a low label is no event: most likely an item was shown and not used.
        leave_out_lower(events, _LABEL, options.min_label, bad, kind="label", is_had=_RATING in typed)
    if _ITEMS in optional and _TIME in optional:
        read_numbers(events, _TIME, bad)  # a row without a time has no place among those with lists
        if _TIMES in optional:
            require_list_times(events, _ITEMS, _TIMES, bad)
    return events


def _check_alike(
    paths: Sequence[Path], logged: Sequence[Mapping[str, str]], user: str, options: RecboleOptions
) -> None:
    """Check that the files of a split have the same ids and times, and the columns that options are about.

    Raises:
        ConfigError: no file has the column that an option is about.
        DataError: one file has a column that another one lacks.
    """
    for kind, least in _least(options).items():
        if least is not None and not any(kind in typed for typed in logged):
            raise ConfigError(f"--min-{kind}: {lacks_column(paths[0], kind, tuple(logged[0]))}; leave the option out")
    for name in (user, *([_TIME] if any(_TIME in typed for typed in logged) else [])):
        for path, typed in zip(paths, logged, strict=True):
            if name not in typed:
                having = next(other for other, there in zip(paths, logged, strict=True) if name in there)
                raise DataError(
                    f"{path}:1: expected a column {name}, which {having} has, found {listed_columns(tuple(typed))}; "
                    "the files of a split need the same columns of ids and times"
                )


def _least(options: RecboleOptions) -> dict[Rated, float | None]:
    return {_LABEL: options.min_label, _RATING: options.min_rating}


def _rated(typed: Collection[str], options: RecboleOptions) -> dict[Rated, float | None]:
    """Return the columns that say which rows are events, with the lowest values of these; None if this is not decided.

    Where labels decide, ratings need not.
    """
    given = _least(options)
    if options.min_label is not None and options.min_rating is None:
        del given[_RATING]
    return {kind: least for kind, least in given.items() if kind in typed}


def _group(
    loaded: Sequence[RawTable], files: EventFiles, user: str, items: Items, options: RecboleOptions, bad: BadRows
) -> Grouped:
    """Group events into histories; lists of earlier items become events first."""
    there = [set(table.columns) for table in loaded]
    columns = EventColumns(
        user=user,
        item=_ITEM,
        time=_TIME if _TIME in there[0] else None,
        items=_ITEMS if _ITEMS in set.union(*there) else None,
        times=_TIMES,
        rating=_RATING if _RATING in set.union(*there) else None,
        are_sessions=user == _SESSION,
    )
    events = noting_had(one_table(loaded, files.parts, columns, bad), user, _ITEM)
    if columns.rating is not None:
        leave_out_lower(events, _RATING, options.min_rating, bad)
    times = read_numbers(events, _TIME, bad) if columns.time else None
    exact = all(_TIMES in names or _ITEMS not in names for names in there)
    part = part_of(files, options.split)
    return group_events(events, user, _ITEM, times, items, bad, part=part, has_exact_times=exact)


def _load(engine: Engine, file: TextTable, typed: Mapping[str, str], wanted: Sequence[str], bad: BadRows) -> RawTable:
    """Read the rows of a file; its columns go by their names without types."""
    rows = file.load(engine, [typed[name] for name in wanted], bad)
    return replace(rows, columns={name: rows[typed[name]] for name in wanted})


def _typed_columns(file: TextTable, needed: Iterable[str]) -> dict[str, str]:
    """Check a typed header, and return the columns as `NAME:TYPE` by name."""
    where, fields = f"{file.path}:1", file.columns
    if len(fields) == 1:
        raise DataError(f"{where}: expected tab-separated columns, found {fields[0][:80]!r}; convert the file")
    for field in fields:
        if field.rpartition(":")[0] == "" or field.rpartition(":")[2] not in _TYPES:
            raise DataError(
                f"{where}: expected a header of NAME:TYPE fields (types: {', '.join(_TYPES)}), found {field[:80]!r}; "
                "add or correct the header"
            )
    names = [field.rpartition(":")[0] for field in fields]
    missing = [name for name in needed if name not in names and not (name == _USER and _SESSION in names)]
    if missing:
        raise DataError(
            f"{where}: expected a column {missing[0]}, found {listed_columns(names)}; rename the column that holds it"
        )
    if len(set(names)) != len(names):
        raise DataError(
            f"{where}: expected columns with different names, found {listed_columns(names)}; rename the duplicates"
        )
    return dict(zip(names, fields, strict=True))


def _title_like(path: Path, columns: Collection[str]) -> str:
    """Return the one column with a title-like name."""
    others = [name for name in columns if name != _ITEM]
    containing = [name for name in others if any(word in name.casefold() for word in _TITLE_LIKE)]
    like = [name for name in containing if name.casefold().endswith(_TITLE_LIKE)] or containing
    if len(like) != 1:
        found = f"{len(like)} title-like columns ({', '.join(like)})" if like else "no title-like column"
        raise ConfigError(
            f"--text-columns: expected one title-like column in {path}, found {found}; name the columns that make up "
            f"the text, from {listed_columns(others)}, or give a --template"
        )
    return like[0]
