"""The content of what a study reads and does not make: raw files, and datasets that were prepared elsewhere.

Content that changes gives everything that is made of it another place, as a changed setting does; without this, results
of the earlier content would be taken for those of the new one.
"""

from pathlib import Path

from tcf.common.errors import DataError, TcfError
from tcf.common.files import MANIFEST
from tcf.common.integrity.checksums import Reading, checksums, memory
from tcf.common.manifest import digest
from tcf.common.parsing import read_json
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.launch.study.tables.content import StudyDataset

__all__ = ["content_of"]

_READING = Reading("the raw files", DataError, "make the file readable, and run the same command again")


def content_of(dataset: StudyDataset) -> str:
    """Return the digest of a dataset's raw files, or the fingerprint of one that is prepared already.

    Checksums of large files are remembered. It is empty for what is downloaded, whose content is known, and for what is
    not there, which its unit will say.

    Args:
        dataset: the dataset.
    """
    if dataset.path is not None:
        return _fingerprint(dataset.path)
    if dataset.raw is None or dataset.format is None:
        return ""
    try:
        return _digest_of_raw(dataset.format, dataset.raw, dataset.prepare)
    except (TcfError, OSError):
        return ""


def _fingerprint(path: Path) -> str:
    try:
        found = read_json(path / MANIFEST)
        return str(found["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _digest_of_raw(format: RawFormat, raw: Path, config: PrepareConfig) -> str:
    from tcf.data.raw.formats import files_of

    files = files_of(format, raw, config)
    found = checksums(files, memory(), _READING)
    return digest([[file.relative_to(raw).as_posix(), checksum] for file, checksum in zip(files, found, strict=True)])
