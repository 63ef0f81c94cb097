"""The formats that raw files come in: for each its files, its reader, and the settings that it has a use for."""

import dataclasses
from pathlib import Path
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import option_name
from tcf.config.prepare import PrepareConfig
from tcf.data.raw.amazon import amazon_files, read_amazon
from tcf.data.raw.any_table import read_table, table_files
from tcf.data.raw.any_table_options import table_options
from tcf.data.raw.hm import hm_files, read_hm
from tcf.data.raw.mind.read_mind import mind_files, read_mind
from tcf.data.raw.movielens import movielens_files, read_movielens
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.recbole import read_recbole, recbole_files
from tcf.data.raw.study.read_study import read_tcf, tcf_files
from tcf.data.text_template import Template, joined_columns, parse_template

__all__ = ["RawFormat", "check_options", "files_of", "read_raw", "template_of"]

RawFormat = Literal["tcf", "recbole", "mind", "hm", "movielens", "amazon", "table"]

# Settings that some formats alone have a use for.
_FOR_FORMATS: dict[str, tuple[RawFormat, ...]] = {
    "min_rating": ("movielens", "amazon"),
    "collapse_repeats": ("hm",),
    "events": ("table",),
    "items": ("table",),
    "user_column": ("table",),
    "item_column": ("table",),
    "time_column": ("table",),
    "item_id_column": ("table",),
    "delimiter": ("table",),
    "drop": ("table",),
}


def check_options(format: RawFormat, config: PrepareConfig) -> None:
    """Refuse settings that a format has no use for.

    Raises:
        ConfigError: there is one.
    """
    for entry in dataclasses.fields(config):
        formats = _FOR_FORMATS.get(entry.name, (format,))
        if format not in formats and getattr(config, entry.name) != entry.default:
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
    match format:
        case "tcf":
            return tcf_files(raw)
        case "recbole":
            return recbole_files(raw)
        case "mind":
            return mind_files(raw)
        case "hm":
            return hm_files(raw)
        case "movielens":
            return movielens_files(raw)
        case "amazon":
            return amazon_files(raw)
        case "table":
            return table_files(raw, table_options(config))


def read_raw(format: RawFormat, raw: Path, template: Template | None, config: PrepareConfig) -> RawLog:
    """Read raw files.

    Raises:
        ConfigError: a setting does not suit the format or the files.
        DataError: the files cannot be used.
    """
    keep_times = config.split == "time"  # tens of millions of times take memory and time
    match format:
        case "tcf":
            return read_tcf(raw, bad_rows=config.bad_rows, template=template)
        case "recbole":
            return read_recbole(raw, bad_rows=config.bad_rows, template=template)
        case "mind":
            return read_mind(raw, bad_rows=config.bad_rows, template=template)
        case "hm":
            return read_hm(
                raw,
                bad_rows=config.bad_rows,
                template=template,
                collapse_repeats=config.collapse_repeats,
                keep_times=keep_times,
            )
        case "movielens":
            return read_movielens(raw, bad_rows=config.bad_rows, template=template, min_rating=config.min_rating)
        case "amazon":
            return read_amazon(raw, bad_rows=config.bad_rows, template=template, min_rating=config.min_rating)
        case "table":
            return read_table(
                raw,
                bad_rows=config.bad_rows,
                template=template,
                options=table_options(config),
                keep_times=keep_times,
            )
