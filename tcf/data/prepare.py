"""Preparation of a dataset from raw files: read, select, count, publish (study, section on datasets)."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tcf.common.errors import DataError
from tcf.common.files import FileStamp, check_destination, is_published, remove_leftovers, staging_place
from tcf.common.manifest import differences, read_manifest, sha256_file
from tcf.config.fields import to_mapping
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.data.dataset import DATASET, Dataset, open_dataset, write_dataset
from tcf.data.describe.target_repeats import repeated_targets_words
from tcf.data.events.html_references import warn_of_references
from tcf.data.filters import Selected, select
from tcf.data.raw.formats import check_options, files_of, read_raw, template_of, with_split
from tcf.data.raw.raw_log import RawLog
from tcf.data.reading_progress import ReadingProgress
from tcf.data.statistics import dataset_statistics
from tcf.data.tables.arrow_numbers import as_arrow
from tcf.data.tables.engine import Engine
from tcf.data.tables.source_file import changed, stamp_of

__all__ = ["prepare"]

logger = logging.getLogger(__name__)


def prepare(format: RawFormat, raw: Path, out: Path, config: PrepareConfig) -> Dataset:
    """Prepare a dataset directory from raw files.

    Users with too few or too many interactions are dropped; `sample_users` of the others are drawn; rare items are
    removed; each user keeps the last `keep_last` interactions; items that then occur nowhere are dropped (`filters`
    documents the order and the reasons). Users and items keep the order of the raw files; repeated interactions are
    kept. An existing dataset made from the same files with the same settings is opened and returned.

    Args:
        format: format of the raw files.
        raw: folder of the raw files.
        out: the dataset directory.
        config: filters, sample, split, texts and treatment of bad rows.

    Raises:
        ConfigError: a setting does not fit the format or the data.
        DataError: the raw files are unusable or change while they are read, nothing is left of them, or `out` holds
            something else.
    """
    check_options(format, config)
    template = template_of(config)
    config = with_split(format, raw, config)
    settings = {"format": format, **to_mapping(config)}
    if is_published(out):
        return _open_same(out, settings, _checksums(files_of(format, raw, config), raw))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(
            f"{out}: expected a new or empty folder, found other files; remove them, or name another with --out"
        )
    stamps = {file: stamp_of(file) for file in files_of(format, raw, config)}
    check_destination(out)
    remove_leftovers(out.parent, out.name)
    with ReadingProgress("prepare", stamps) as progress:
        with Engine(staging_place(out)) as engine:
            progress.follow(engine.shares_read)
            log = read_raw(format, raw, template, config, engine)
        progress.phase("filtering")
        kept = select(log, config, raw)
        _check_unchanged(stamps)
        progress.phase("writing")
        dataset = _write(out, log, kept, settings)
    for words in repeated_targets_words(dataset.statistics):
        logger.warning(f"{out}: {words}")
    return dataset


def _write(out: Path, log: RawLog, kept: Selected, settings: Mapping[str, Any]) -> Dataset:
    item_rows = as_arrow(kept.items)
    texts = log.texts.take(item_rows)
    if not settings["unescape_html"]:
        warn_of_references(texts)
    return write_dataset(
        out,
        item_ids=log.item_ids.take(item_rows),
        texts=texts,
        user_ids=log.user_ids.take(as_arrow(kept.users)),
        split=kept.split,
        seen=kept.seen,
        inputs=log.files,
        config=settings,
        statistics=dataset_statistics(
            kept.split,
            texts,
            {**log.skipped, **kept.dropped},
            periods=kept.periods,
            given=kept.given,
            duplicates=kept.duplicates,
            seen=kept.seen,
        ),
    )


def _checksums(files: Iterable[Path], raw: Path) -> dict[str, str]:
    files = tuple(files)
    with ReadingProgress("prepare: checksums of the raw files", files):
        return {file.relative_to(raw).as_posix(): sha256_file(file) for file in files}


def _check_unchanged(stamps: Mapping[Path, FileStamp]) -> None:
    """Check at the end, because a small file is read in one piece: only now can a change be noticed."""
    for file, stamp in stamps.items():
        if not stamp_of(file).same_content(stamp):
            raise changed(file)


def _open_same(out: Path, settings: Mapping[str, Any], checksums: Mapping[str, str]) -> Dataset:
    """Open the existing dataset if it was made from these files with these settings."""
    manifest = read_manifest(out, DATASET)
    sums = {f"sha256 of {name}": checksum for name, checksum in checksums.items()}
    there = {f"sha256 of {name}": checksum for name, checksum in manifest.inputs.items()}
    differing = differences({**manifest.config, **there}, {**settings, **sums})
    if differing:
        raise DataError(
            f"{out}: expected a dataset made with these settings, found one made with others: {differing}; remove it, "
            "or name another folder with --out"
        )
    logger.info(f"{out}: already prepared with these settings and inputs; nothing to do")
    return open_dataset(out)
