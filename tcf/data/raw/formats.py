"""The reader of each raw format; `tcf.config.raw_formats` lists the formats and the settings that each one uses."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, assert_never

from tcf.common.errors import ConfigError
from tcf.config.fields import option_name
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat, formats_with
from tcf.data.raw.amazon import amazon_files, amazon_paths, read_amazon
from tcf.data.raw.any_table.read_table import read_items_alone, read_table, table_files
from tcf.data.raw.any_table.table_options import are_items_alone, catalogue_options, table_options
from tcf.data.raw.hm import hm_files, read_hm
from tcf.data.raw.mind.read_mind import mind_files, read_mind
from tcf.data.raw.movielens import movielens_files, read_movielens
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.recbole import RecboleOptions, read_recbole, recbole_files, recbole_paths
from tcf.data.raw.study.file_names import tcf_files
from tcf.data.raw.study.read_study import read_tcf
from tcf.data.split import no_given_split
from tcf.data.tables.engine import Engine
from tcf.data.text_template import Template, joined_columns, parse_template

__all__ = ["RawReader", "check_options", "files_of", "read_raw", "reader_of", "template_of", "with_split"]

logger = logging.getLogger(__name__)


class ReadsRaw(Protocol):
    """Reads the files of a raw folder."""

    def __call__(
        self, engine: Engine, *, template: Template | None, unescape_html: bool, bad_rows: Literal["error", "skip"]
    ) -> RawLog:
        """Read items and histories; texts are made by the template, or are the format's default."""


@dataclass(frozen=True)
class RawReader:
    """The reader of a raw format, for one folder and settings.

    Attributes:
        files: finds the files.
        read: reads them.
        brings_split: whether the files say the part of each event, which `read` returns if the split is `given`.
    """

    files: Callable[[], tuple[Path, ...]]
    read: ReadsRaw
    brings_split: bool = False


def reader_of(format: RawFormat, raw: Path, config: PrepareConfig) -> RawReader:
    """Return the reader of a raw folder.

    Raises:
        ConfigError: a setting that the format requires is missing.
    """
    keep_times = config.split in ("time", "given")  # tens of millions of times take memory and time
    match format:
        case "tcf":
            return RawReader(partial(tcf_files, raw), partial(read_tcf, folder=raw))
        case "recbole":
            rows = RecboleOptions(config.min_label, config.min_rating, config.split)
            read = partial(read_recbole, folder=raw, options=rows)
            brings_split = recbole_files(raw, config.split)[0].parts is not None
            return RawReader(partial(recbole_paths, raw, config.split), read, brings_split)
        case "mind":
            return RawReader(partial(mind_files, raw), partial(read_mind, raw=raw))
        case "hm":
            repeats = config.collapse_repeats
            read = partial(read_hm, folder=raw, collapse_repeats=repeats, keep_times=keep_times)
            return RawReader(partial(hm_files, raw), read)
        case "movielens":
            read = partial(read_movielens, folder=raw, min_rating=config.min_rating)
            return RawReader(partial(movielens_files, raw), read)
        case "amazon":
            rating, split = config.min_rating, config.split
            read = partial(read_amazon, folder=raw, min_rating=rating, split=split)
            brings_split = amazon_files(raw, split)[0].parts is not None
            return RawReader(partial(amazon_paths, raw, split), read, brings_split)
        case "table" if are_items_alone(config):
            options = catalogue_options(config)
            return RawReader(partial(table_files, raw, options), partial(read_items_alone, raw=raw, options=options))
        case "table":
            options = table_options(config)
            read = partial(read_table, raw=raw, options=options, keep_times=keep_times)
            brings_split = options.split_column is not None or options.has_files_of_parts
            return RawReader(partial(table_files, raw, options), read, brings_split)
        case _:
            assert_never(format)


def check_options(format: RawFormat, config: PrepareConfig) -> None:
    """Refuse settings that a format does not use.

    Raises:
        ConfigError: such a setting differs from its default.
    """
    for entry in dataclasses.fields(config):
        formats = formats_with(entry.name)
        if formats and format not in formats and getattr(config, entry.name) != entry.default:
            raise ConfigError(
                f"{option_name(entry.name)}: expected only with format {_one_of(formats)}, found with format "
                f"{format}; leave it out"
            )


def _one_of(names: Sequence[str]) -> str:
    """Return names for a message: `a`, `a or b`, `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def with_split(format: RawFormat, raw: Path, config: PrepareConfig) -> PrepareConfig:
    """Return the settings with the split to be made: by default that of the files if they bring one.

    Raises:
        ConfigError: the split is to be that of the files, and they bring none.
    """
    brings_split = reader_of(format, raw, config).brings_split
    match config.split:
        case None if brings_split:
            logger.info(f"{raw}: the files bring a split, which is used (--split given)")
            return dataclasses.replace(config, split="given")
        case None:
            return dataclasses.replace(config, split="leave-one-out")
        case "given" if not brings_split:
            raise no_given_split(raw)
        case _:
            return config


def template_of(config: PrepareConfig) -> Template | None:
    """Return the text template in the settings; None for the format's default."""
    if config.template is not None:
        return parse_template(config.template)
    return joined_columns(config.text_columns) if config.text_columns else None


def files_of(format: RawFormat, raw: Path, config: PrepareConfig) -> tuple[Path, ...]:
    """Return the raw files of a format, below the raw folder.

    Raises:
        ConfigError: a setting that the format requires is missing.
        DataError: a file is missing.
    """
    return reader_of(format, raw, config).files()


def read_raw(format: RawFormat, raw: Path, template: Template | None, config: PrepareConfig, engine: Engine) -> RawLog:
    """Read raw files.

    Args:
        format: their format.
        raw: their folder.
        template: the text of an item; None takes the format's default.
        config: settings.
        engine: reads and orders their rows.

    Raises:
        ConfigError: a setting does not match the format or the files.
        DataError: the files cannot be used.
    """
    read = reader_of(format, raw, config).read
    return read(engine, template=template, unescape_html=config.unescape_html, bad_rows=config.bad_rows)
