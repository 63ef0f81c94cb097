"""Trials of a search that were trained, compared with what their runs hold now."""

import logging
from collections.abc import Sequence
from pathlib import Path

from tcf.common.errors import RunError
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import differences, read_manifest
from tcf.launch.search.results import TrialRow, trial_folder
from tcf.train.run.file_names import RUN

__all__ = ["warn_of_damaged_trials"]

logger = logging.getLogger(__name__)


def warn_of_damaged_trials(out: Path, rows: Sequence[TrialRow], verify: Verify = "once") -> None:
    """Log a warning for every trained trial whose run is missing, is damaged, or says something else than the search.

    The search keeps what it recorded of them, since their runs may have been removed to save space.

    Args:
        out: the directory of the search.
        rows: its trials.
        verify: whether large files that this machine has verified are verified again.
    """
    for row in rows:
        if row.state == "trained" and row.same_as is None:
            try:
                _check(trial_folder(out, row.number), row, verify)
            except RunError as error:
                logger.warning(f"trial {row.number}: {error}")


def _check(folder: Path, row: TrialRow, verify: Verify) -> None:
    manifest = read_manifest(folder, RUN)
    verify_files(folder, manifest, RUN, verify=verify)
    differing = differences(manifest.facts, row.metadata)
    if differing:
        raise RunError(f"{folder}: expected what the search recorded of it, found another run ({differing})")
