"""How each raw format is read; `tcf.config.raw_formats` says what they are, and which settings each has a use for."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, assert_never

from tcf.common.errors import ConfigError
from tcf.config.fields import option_name
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat, formats_with
from tcf.data.raw.amazon import amazon_files, read_amazon
from tcf.data.raw.any_table import read_table, table_files
from tcf.data.raw.any_table_options import table_options
from tcf.data.raw.hm import hm_files, read_hm
from tcf.data.raw.mind.read_mind import mind_files, read_mind
from tcf.data.raw.movielens import movielens_files, read_movielens
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.recbole import read_recbole, recbole_files
from tcf.data.raw.study.file_names import tcf_files
from tcf.data.raw.study.read_study import read_tcf
from tcf.data.text_template import Template, joined_columns, parse_template

__all__ = ["RawReader", "check_options", "files_of", "read_raw", "reader_of", "template_of"]


class ReadsRaw(Protocol):
    """Reads the files of a raw folder."""

    def __call__(self, *, template: Template | None) -> RawLog:
        """Items and histories; the texts by a template, or as the format has them."""


@dataclass(frozen=True)
class RawReader:
    """A raw format, for a folder and settings.

    Attributes:
        files: finds the files that are read.
        read: reads them.
    """

    files: Callable[[], tuple[Path, ...]]
    read: ReadsRaw


def reader_of(format: RawFormat, raw: Path, config: PrepareConfig) -> RawReader:
    """How a raw folder is read.

    Raises:
        ConfigError: a setting that the format needs is missing.
    """
    bad_rows = config.bad_rows
    keep_times = config.split == "time"  # tens of millions of times take memory and time
    match format:
        case "tcf":
            return RawReader(partial(tcf_files, raw), partial(read_tcf, raw, bad_rows=bad_rows))
        case "recbole":
            return RawReader(partial(recbole_files, raw), partial(read_recbole, raw, bad_rows=bad_rows))
        case "mind":
            return RawReader(partial(mind_files, raw), partial(read_mind, raw, bad_rows=bad_rows))
        case "hm":
            repeats = config.collapse_repeats
            read = partial(read_hm, raw, bad_rows=bad_rows, collapse_repeats=repeats, keep_times=keep_times)
            return RawReader(partial(hm_files, raw), read)
        case "movielens":
            read = partial(read_movielens, raw, bad_rows=bad_rows, min_rating=config.min_rating)
            return RawReader(partial(movielens_files, raw), read)
        case "amazon":
            read = partial(read_amazon, raw, bad_rows=bad_rows, min_rating=config.min_rating)
            return RawReader(partial(amazon_files, raw), read)
        case "table":
            options = table_options(config)
            read = partial(read_table, raw, bad_rows=bad_rows, options=options, keep_times=keep_times)
            return RawReader(partial(table_files, raw, options), read)
        case _:
            assert_never(format)


def check_options(format: RawFormat, config: PrepareConfig) -> None:
    """Refuse settings that a format has no use for.

    Raises:
        ConfigError: there is one.
    """
    for entry in dataclasses.fields(config):
        formats = formats_with(entry.name)
        if formats and format not in formats and getattr(config, entry.name) != entry.default:
            raise ConfigError(
                f"{option_name(entry.name)}: expected only with format {' or '.join(formats)}, found it with "
                f"format {format}; leave it out"
            )


def template_of(config: PrepareConfig) -> Template | None:
    """How the settings say that texts are made; None if they leave it to the format."""
    if config.template is not None:
        return parse_template(config.template)
    return joined_columns(config.text_columns) if config.text_columns else None


def files_of(format: RawFormat, raw: Path, config: PrepareConfig) -> tuple[Path, ...]:
    """The files of a format that are read, below the raw folder.

    Raises:
        ConfigError: a setting that the format needs is missing.
        DataError: a file is missing.
    """
    return reader_of(format, raw, config).files()


def read_raw(format: RawFormat, raw: Path, template: Template | None, config: PrepareConfig) -> RawLog:
    """Read raw files.

    Raises:
        ConfigError: a setting does not suit the format or the files.
        DataError: the files cannot be used.
    """
    return reader_of(format, raw, config).read(template=template)
