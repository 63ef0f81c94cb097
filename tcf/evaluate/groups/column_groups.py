"""Groups by a column of a table that has ids of items or users: a category, a price band, a country.

Shapes: T targets of all users, R rows of the table.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import ConfigError, DataError
from tcf.common.units import counted
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.engine import Engine
from tcf.data.tables.open_table import open_table
from tcf.data.tables.table import check_columns, listed_columns

__all__ = ["column_codes", "id_column_of"]

logger = logging.getLogger(__name__)

_IDS = ("item_id", "user_id")
_NONE = "none"
_MOST_VALUES = 1000


def column_codes(file: Path, column: str, targets: pa.Table) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Look up the value of each target, or of its user.

    Args:
        file: Parquet, CSV or JSON lines, with a column `item_id` or `user_id`.
        column: the column of the values.
        targets: the file of ranks of an evaluation, a row for each target.

    Returns:
        The values, numbers by size, and the place of each target's value among them, (T,). The last one is `none`, if
        there are targets whose id is not in the file or has no value there; how many is logged.

    Raises:
        ConfigError: the file lacks the column, or has both columns of ids or neither, or has too many values.
        DataError: it cannot be read, or gives an id several values.
    """
    id_column = id_column_of(file, column)
    ids, values = _rows(file, id_column, column)
    _refuse_several(file, id_column, column, ids, values)
    places_T = pc.index_in(targets[id_column].combine_chunks(), value_set=ids)
    found_T = pc.take(values, places_T)
    found_T = pc.if_else(pc.equal(found_T, ""), None, found_T).dictionary_encode()
    names = found_T.dictionary.to_pylist()
    if len(names) > _MOST_VALUES:
        raise ConfigError(
            f"{file}: expected at most {_MOST_VALUES:,} different values of {column} among the targets, found "
            f"{len(names):,}; name a column of coarser groups"
        )
    order = sorted(range(len(names)), key=lambda place: _by_size(names[place]))
    place_of = np.empty(len(names) + 1, np.int64)
    place_of[order], place_of[-1] = np.arange(len(names)), len(names)
    codes_T = place_of[found_T.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)]
    shown = [names[place] if names[place] != _NONE else f"{_NONE} (a value)" for place in order]
    return (*shown, *_unknown(codes_T == len(names), places_T, f"{file}:{column}", id_column)), codes_T


def id_column_of(file: Path, column: str) -> str:
    """Return which ids a table with a column has: `item_id` or `user_id`.

    Raises:
        ConfigError: the file lacks the column, or has both columns of ids or neither.
        DataError: it cannot be read.
    """
    there = open_table(file).columns
    found = [name for name in _IDS if name in there]
    if len(found) != 1:
        known = "both" if found else f"neither among {listed_columns(there)}"
        raise ConfigError(f"{file}: expected a column item_id or user_id, found {known}; rename one")
    check_columns(file, (found[0], column), there)
    return found[0]


def _rows(file: Path, id_column: str, column: str) -> tuple[pa.Array, pa.Array]:
    """Ids and values, (R,) each; what cannot be read is left out, and counted."""
    bad = BadRows("skip")
    with tempfile.TemporaryDirectory(prefix="tcf-") as folder, Engine(Path(folder, "scratch")) as engine:
        table = open_table(file).load(engine, tuple(dict.fromkeys((id_column, column))), bad)
        ids, values = table.strings(table[id_column], table[column])
    if bad.skipped:
        logger.warning(f"{file}: rows left out: {skipped_words(bad.skipped)}")
    return ids, values


def _refuse_several(file: Path, id_column: str, column: str, ids: pa.Array, values: pa.Array) -> None:
    first = pc.index_in(ids, value_set=ids)  # of equal ids the first
    differ = pc.not_equal(values, pc.take(values, first)).to_numpy(zero_copy_only=False)
    if differ.any():
        row = int(np.argmax(differ))
        pair = f"{values[first[row].as_py()].as_py()!r} and {values[row].as_py()!r}"
        raise DataError(
            f"{file}: expected one {column} of each {id_column}, found {pair} of {ids[row].as_py()}; keep one of them"
        )


def _unknown(none_T: npt.NDArray[np.bool_], places_T: pa.Array, source: str, id_column: str) -> Sequence[str]:
    """The group of the targets without a value, if there are any, which is said."""
    if not none_T.any():
        return ()
    missing = places_T.null_count
    logger.warning(
        f"{source}: {int(none_T.sum()):,} of {counted(len(none_T), 'target')} have no value and are in the group "
        f"{_NONE}: the {id_column} of {missing:,} is not in the file"
    )
    return (_NONE,)


def _by_size(value: str) -> tuple[bool, float, str]:
    """Numbers in their order, then texts."""
    try:
        number = float(value)
    except ValueError:
        return True, 0.0, value
    return (False, number, value) if number == number else (True, 0.0, value)
