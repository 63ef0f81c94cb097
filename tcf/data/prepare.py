"""Raw files to a dataset: read, filter, sample, number the items, count, publish (study, section on datasets)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.config import PrepareConfig
from tcf.data.dataset import DATASET, Dataset, Histories, open_dataset, write_dataset
from tcf.data.raw import RawLog
from tcf.data.raw_recbole import read_recbole, recbole_files
from tcf.data.raw_tcf import read_tcf, tcf_files
from tcf.data.split import latest
from tcf.data.statistics import statistics_of
from tcf.data.template import Template, joined_columns, parse_template
from tcf.errors import ConfigError, DataError
from tcf.files import is_published
from tcf.manifest import differences, read_manifest, sha256_file
from tcf.settings_fields import to_mapping

__all__ = ["RawFormat", "prepare"]

RawFormat = Literal["tcf", "recbole"]


@dataclass(frozen=True)
class _Kept:
    """What the filters leave.

    Attributes:
        users: (n_users,) int64, positions among the raw users, rising.
        items: (n_items,) int64, positions among the raw items, rising.
        histories: item indices by user, oldest first.
        dropped: reason to the number of users, interactions or items left out.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    histories: Histories
    dropped: Mapping[str, int]


def prepare(format: RawFormat, raw: Path, out: Path, config: PrepareConfig) -> Dataset:
    """Turn raw files into a dataset directory.

    Users with fewer than `min_history` interactions are dropped; of the others `sample_users` are drawn; each keeps its
    last `keep_last` interactions; items that then occur nowhere are dropped. Users and items keep the raw files' order;
    repeated interactions are kept. A dataset that is there already, made from the same files in the same way, is
    opened and returned.

    Args:
        format: the raw files' format.
        raw: folder of the raw files.
        out: where the dataset is to appear.
        config: filters, sample, texts and what to do with bad rows.

    Raises:
        ConfigError: a setting does not suit the format or the data.
        DataError: the raw files cannot be used, nothing is left of them, or `out` holds something else.
    """
    template = _template(format, config)
    settings = {"format": format, **to_mapping(config)}
    if is_published(out):
        return _open_same(out, settings, _checksums(format, raw))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out}: expected a path where nothing is yet, found something; remove it or name another")
    log = _read(format, raw, template, config)
    kept = _filter(log, config, raw)
    item_rows = pa.array(kept.items)
    texts = log.texts.take(item_rows)
    return write_dataset(
        out,
        item_ids=log.item_ids.take(item_rows),
        texts=texts,
        user_ids=log.user_ids.take(pa.array(kept.users)),
        histories=kept.histories,
        inputs=log.files,
        config=settings,
        statistics=statistics_of(kept.histories, texts, {**log.skipped, **kept.dropped}),
    )


def _template(format: RawFormat, config: PrepareConfig) -> Template | None:
    """How the settings say that texts are made; None if they leave it to the format."""
    if config.template is not None:
        return parse_template(config.template)
    if format == "tcf" and config.text_columns:
        raise ConfigError("--text-columns: expected none with format tcf, whose item file has one column of text")
    return joined_columns(config.text_columns) if config.text_columns else None


def _read(format: RawFormat, raw: Path, template: Template | None, config: PrepareConfig) -> RawLog:
    match format:
        case "tcf":
            return read_tcf(raw, bad_rows=config.bad_rows, template=template)
        case "recbole":
            return read_recbole(raw, bad_rows=config.bad_rows, template=template)


def _checksums(format: RawFormat, raw: Path) -> dict[str, str]:
    match format:
        case "tcf":
            files = tcf_files(raw)
        case "recbole":
            files = recbole_files(raw)
    return {file.name: sha256_file(file) for file in files}


def _open_same(out: Path, settings: Mapping[str, Any], checksums: Mapping[str, str]) -> Dataset:
    """The dataset that is there, if it was made from these files with these settings."""
    manifest = read_manifest(out, DATASET)
    sums = {f"sha256 of {name}": checksum for name, checksum in checksums.items()}
    there = {f"sha256 of {name}": checksum for name, checksum in manifest.inputs.items()}
    differing = differences({**manifest.config, **there}, {**settings, **sums})
    if differing:
        raise DataError(
            f"{out}: expected a dataset made as asked for, found one made otherwise: {differing}; "
            "remove it, or name another folder with --out"
        )
    return open_dataset(out)


def _filter(log: RawLog, config: PrepareConfig, raw: Path) -> _Kept:
    everything = Histories(log.offsets, log.items)
    long_enough = np.flatnonzero(everything.lengths >= config.min_history)
    if len(long_enough) == 0:
        raise DataError(_nothing_left(log, config, raw))
    users = _sample(long_enough, config)
    whole = everything.take(users)
    last = latest(whole, config.keep_last)
    seen = np.bincount(last.items, minlength=len(log.item_ids)) > 0
    index = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    eligible = int(everything.lengths[long_enough].sum())
    dropped = {
        "users_below_min_history": len(everything) - len(long_enough),
        "interactions_of_dropped_users": len(log.items) - eligible,
        "users_not_sampled": len(long_enough) - len(users),
        "interactions_of_users_not_sampled": eligible - len(whole.items),
        "interactions_cut_by_keep_last": len(whole.items) - len(last.items),
        "items_never_seen": int((~seen).sum()),
    }
    histories = Histories(last.offsets, index[last.items])
    return _Kept(users, np.flatnonzero(seen), histories, {reason: n for reason, n in dropped.items() if n})


def _sample(users: npt.NDArray[np.int64], config: PrepareConfig) -> npt.NDArray[np.int64]:
    """The sample of users, in their order; of two samples with one seed, the smaller lies within the larger."""
    if config.sample_users is None:
        return users
    if config.sample_users > len(users):
        raise ConfigError(
            f"--sample-users: expected at most {len(users)}, the users with {config.min_history} interactions or more, "
            f"found {config.sample_users}; leave the option out to keep all"
        )
    draws = np.random.Generator(np.random.PCG64(config.seed)).random(len(users))
    chosen: npt.NDArray[np.int64] = users[np.sort(np.argsort(draws, kind="stable")[: config.sample_users])]
    return chosen


def _nothing_left(log: RawLog, config: PrepareConfig, raw: Path) -> str:
    longest = int(np.diff(log.offsets).max(initial=0))
    skipped = ", ".join(f"{reason} {number}" for reason, number in log.skipped.items()) or "none"
    return (
        f"{raw}: expected users with at least {config.min_history} interactions, found none among {len(log.user_ids)} "
        f"(longest history: {longest}; rows and events skipped: {skipped}); lower --min-history or check the files"
    )
