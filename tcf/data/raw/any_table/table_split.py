"""The split that the files of format `table` bring: a column of the events, or files of events for each part."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.data.raw.any_table.dropped_rows import listed_values
from tcf.data.raw.any_table.table_files import list_files
from tcf.data.raw.any_table.table_options import TableOptions
from tcf.data.split import EventPart
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import literal
from tcf.data.tables.several_tables import ListedFile, columns_of_files
from tcf.data.tables.table import RawTable, TableFile

__all__ = ["list_events", "mention_unused_split", "part_of_rows"]

logger = logging.getLogger(__name__)

_NAMES: Mapping[str, EventPart] = {
    "context": EventPart.CONTEXT,
    "train": EventPart.TRAINING,
    "training": EventPart.TRAINING,
    "valid": EventPart.VALIDATION,
    "validation": EventPart.VALIDATION,
    "val": EventPart.VALIDATION,
    "dev": EventPart.VALIDATION,
    "test": EventPart.TEST,
    "testing": EventPart.TEST,
}


def list_events(raw: Path, options: TableOptions) -> list[ListedFile]:
    """Return the files of events; if each part of the split has its own, those of training come first.

    Raises:
        ConfigError: a file is named twice, or a name is malformed.
        DataError: a file does not exist.
    """
    files = list_files(raw, options.events, "--events")
    if not options.has_files_of_parts:
        return files
    files = [replace(file, part=EventPart.TRAINING.value) for file in files]
    for names, option, part in (
        (options.validation_events, "--validation-events", EventPart.VALIDATION),
        (options.test_events, "--test-events", EventPart.TEST),
    ):
        known = {file.path.resolve() for file in files}
        for file in list_files(raw, names, option):
            if file.path.resolve() in known:
                raise ConfigError(
                    f"{option}: expected files of other events than those before, found {file.path} again; name it for "
                    "one part"
                )
            files.append(replace(file, part=part.value))
    return files


def mention_unused_split(events: TableFile, options: TableOptions) -> None:
    """Say so if a file of events has a column that is called `split`, and the split is not taken from it."""
    unused: dict[str, Path] = {}
    for path, columns in columns_of_files(events):
        for column in columns:
            if column.lower() == "split" and column != options.split_column:
                unused.setdefault(column, path)
    for column, path in unused.items():
        instead = f"--split-column {column} takes the split from it"
        if options.has_files_of_parts:
            instead = f"the options say which files are for which part; without these, {instead}"
        logger.info(f"{path}: has a column {column}, which is not used; {instead}")


def part_of_rows(events: RawTable, options: TableOptions, bad: BadRows) -> str | None:
    """Return an expression in SQL for the `EventPart` of an event; None if nothing says it.

    Rows whose value of the split column is no part are rejected as `bad_split`.

    Raises:
        DataError: there are such rows, and `bad` does not skip.
        ConfigError: all rows are such rows.
    """
    if options.has_files_of_parts:
        return "events.part"
    if options.split_column is None:
        return None
    written = f"lower({events[options.split_column]})"
    known = f"{written} in ({', '.join(map(literal, _NAMES))})"
    expected = "a part of the split: train (or training), valid (validation, val, dev), test or context"
    unknown = events.engine.number(f"select count(*) from {events.name} where not {known}")
    if unknown and unknown == len(events):
        raise ConfigError(
            f"--split-column: expected {expected}, found {listed_values(events, options.split_column)}; name another "
            "column"
        )
    if unknown:
        expected += f" ({listed_values(events, options.split_column)})"
    events.reject(f"not {known}", "bad_split", expected, bad, columns=(options.split_column,), is_had=True)
    cases = " ".join(f"when {literal(name)} then {part.value}" for name, part in _NAMES.items())
    return f"case {written} {cases} end"
