"""The users that recommendations are for: those asked for by their ids, with or without those never trained."""

import codecs
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.common.output.folders import real_path
from tcf.common.units import counted
from tcf.config.evaluate import UntrainedUsers
from tcf.data.dataset import Dataset
from tcf.data.tables.source_file import unreadable
from tcf.evaluate.finished_run import FinishedRun, learned_users

__all__ = ["chosen_users", "trained_among"]

logger = logging.getLogger(__name__)


def chosen_users(dataset: Dataset, users: Path | Sequence[str] | None) -> npt.NDArray[np.int64]:
    """Indices of the requested users, in the order of the request.

    Args:
        dataset: the dataset of the run.
        users: user ids of the raw data, or a file with one per line; None for all users.

    Raises:
        DataError: an id is unknown or there twice, or the file has none or cannot be read.
    """
    if users is None:
        return np.arange(dataset.n_users)
    wanted = _ids(users) if isinstance(users, Path) else users
    found = pc.index_in(pa.array(wanted, pa.large_string()), value_set=dataset.user_ids).fill_null(-1)
    chosen = np.asarray(found, np.int64)
    first_places = np.unique(chosen, return_index=True)[1]
    wrong = np.flatnonzero((chosen < 0) | ~np.isin(np.arange(len(chosen)), first_places))
    if len(wrong):
        first = int(wrong[0])
        where, unit = (f"{users}:{first + 1}", "line") if isinstance(users, Path) else (f"users[{first}]", "id")
        found = f"the unknown id {wanted[first]!r}" if chosen[first] < 0 else f"{wanted[first]!r} a second time"
        raise DataError(
            f"{where}: expected users of {_shown(dataset.path)}, each only once, found {found} "
            f"({counted(len(wrong), f'wrong {unit}')}); correct the "
            f"{'file' if isinstance(users, Path) else 'list, or name a file of ids as a pathlib.Path'}"
        )
    return chosen


def _shown(path: Path) -> Path:
    """A path without `..`, which a run's path of its dataset contains; relative to this folder if it is in it."""
    path, here = real_path(path), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _ids(file: Path) -> list[str]:
    """The ids in a file, without surrounding white space; blank lines at the end of the file are ignored."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from None
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = data.decode(encoding, "backslashreplace")
    if not text:
        raise DataError(f"{file}: expected rows, found an empty file; check its source")
    ids = [line.strip() for line in text.rstrip(" \r\n").split("\n")]
    if ids == [""]:
        raise DataError(f"{file}: expected user ids, one per line, found none; correct the file")
    return ids


def trained_among(
    run: FinishedRun, users: npt.NDArray[np.int64], policy: UntrainedUsers
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the users to recommend to, and how many of those asked for the run has never trained, which is said.

    Args:
        run: the run.
        users: (n,) indices of the users asked for.
        policy: whether users who were never trained stay.
    """
    untrained = ~learned_users(run)[users]
    if not untrained.any():
        return users, 0
    first = run.dataset.user_ids[int(users[np.argmax(untrained)])].as_py()
    number = f"{int(untrained.sum()):,} of {counted(len(users), 'user')} (the first: {first})"
    if policy == "leave-out":
        logger.info(f"{number} have no training interaction and are left out")
        return users[~untrained], int(untrained.sum())
    logger.warning(
        f"{number} have no training interaction, so that their user vectors are random numbers; "
        "--untrained-users leave-out leaves them out"
    )
    return users, int(untrained.sum())
