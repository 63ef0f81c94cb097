"""Filters from a raw log to a dataset: users, items and interactions are left out by rule, and all of them are counted.

The steps, in this order:

1. For a split by time, the two times are determined on the whole log, so that every sample and subset of a log is split
   at the same dates. A user's history ends with the test target; later interactions are treated as future. A split that
   the files bring keeps all events, and every event its part.
2. Users whose history is too short or too long are dropped, and a sample of the others is drawn.
3. Rare items are removed after sampling (as in the study, whose warm subsets are subsets of its samples): with
   `min_item_count`, every item that is kept (`min_item_count_over` training: kept for training) fewer times and every
   user whose history is then too short, repeatedly
   until there are none. Each time histories are cut as if the removed items had never been in the log: the first
   remaining item in the test period is the test target, and the latest remaining items are kept. The interactions kept
   in the end are counted, so the subset is really warm.
4. Each user keeps the latest interactions of the history, which ends with the test target; items that then occur
   nowhere are dropped, unless `keep_unseen_items` keeps those that are not rare. Of several targets in a part of a
   given split the further ones are kept beyond that limit.

Shapes: n_users users, n_items items and nnz interactions of the raw log; k remaining users.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tcf.common.errors import ConfigError, DataError
from tcf.common.random_streams import RandomStream, generator
from tcf.config.prepare import PrepareConfig
from tcf.data.events.event_selection import EventSelection, split_of, until_target
from tcf.data.events.warm_subset import warm_subset
from tcf.data.histories import Histories, occurrences, taken
from tcf.data.raw.raw_log import RawLog
from tcf.data.seen import SeenItems, distinct_items, renumbered
from tcf.data.split import (
    GivenSplit,
    Part,
    Split,
    held_out,
    leave_one_out,
    no_given_split,
)
from tcf.data.tables.arrow_numbers import as_arrow, as_numpy
from tcf.data.tables.bad_rows import skipped_words
from tcf.data.time_split import Periods, find_periods

__all__ = ["Selected", "select"]

logger = logging.getLogger(__name__)

Index = npt.NDArray[np.int32]  # of each raw item, its index among the kept ones, or -1
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Selected:
    """The part of a log that is kept.

    Attributes:
        users: (k,) int64, positions among the raw users, rising.
        items: positions among the raw items, rising; their order is the item index.
        split: item indices by user, oldest first, and their use.
        seen: what these users have had besides, of these items.
        periods: the periods of a split by time; otherwise None.
        dropped: number of users, interactions or items left out, by reason.
        given: what is known of a split that the files bring; otherwise None.
        duplicates: whether an event of the split's histories is an exact duplicate of an earlier one, which may have
            been cut off; None if that is unknown.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    split: Split
    seen: SeenItems
    periods: Periods | None
    dropped: Mapping[str, int]
    given: GivenSplit | None = None
    duplicates: npt.NDArray[np.bool_] | None = None


def select(log: RawLog, config: PrepareConfig, raw: Path) -> Selected:
    """Filter, sample and split a log.

    Args:
        log: the raw log.
        config: filters, sample and split.
        raw: the folder of the raw files, for messages.

    Raises:
        ConfigError: a setting does not fit the log.
        DataError: nothing is left of the log.
    """
    if not len(log.user_ids):
        return _of_items_alone(log)
    dropped: dict[str, int] = {}
    if config.drop_duplicates:
        log = _without_duplicates(log, raw, dropped)
    periods, parts = _periods(log, config, raw), _given_parts(log, config, raw)
    times = log.times if periods is not None or parts is not None else None
    everything = EventSelection(np.arange(len(log.user_ids)), log.offsets, log.items, times, parts, log.duplicates)
    eligible = _of_eligible_users(everything, config, periods, dropped)
    if not len(eligible.users):
        raise DataError(_nothing_left(log, config, raw))
    sampled = _of_sampled_users(eligible, log, config, dropped)
    warm, rare = sampled, np.zeros(len(log.item_ids), bool)
    if config.min_item_count is not None:
        warm, rare = warm_subset(sampled, config, periods, len(log.item_ids), dropped)
    if not len(warm.users):
        raise DataError(_nothing_warm(sampled, config, raw))
    before_future = until_target(warm, periods)
    kept = before_future.last(config.keep_last)
    dropped["interactions_after_test_target"] = len(warm) - len(before_future)
    dropped["interactions_cut_by_keep_last"] = len(before_future) - len(kept)
    catalogue = ~rare
    if not config.keep_unseen_items:
        catalogue = occurrences(kept.items, len(log.item_ids)) > 0
        dropped["items_never_seen"] = int((~(catalogue | rare)).sum())
    index = np.where(catalogue, np.cumsum(catalogue, dtype=np.int32) - np.int32(1), np.int32(-1))
    seen = _seen(warm, before_future, kept, index, log.others)
    return _numbered(kept, index, seen, periods, dropped, raw)


def _of_items_alone(log: RawLog) -> Selected:
    """Return all items of a log without users."""
    histories = Histories(np.zeros(1, np.int64), np.zeros(0, np.int32))
    return Selected(
        np.zeros(0, np.int64), np.arange(len(log.item_ids)), leave_one_out(histories), SeenItems.none(0), None, {}
    )


def _without_duplicates(log: RawLog, raw: Path, dropped: dict[str, int]) -> RawLog:
    if log.duplicates is None and log.rows_are_distinct:
        return log
    if log.duplicates is None:
        raise ConfigError(
            f"--drop-duplicates: expected the time of each event in {raw}, by which exact duplicates are told from "
            "repeats, found none; leave the option out"
        )
    dropped["duplicate_event"] = int(log.duplicates.sum()) + log.skipped.get("duplicate_event", 0)
    users = np.arange(len(log.user_ids))
    kept = EventSelection(users, log.offsets, log.items, log.times, log.parts).where(~log.duplicates)
    none = np.zeros(len(kept), bool)
    return replace(log, offsets=kept.offsets, items=kept.items, times=kept.times, parts=kept.parts, duplicates=none)


def _periods(log: RawLog, config: PrepareConfig, raw: Path) -> Periods | None:
    if config.split != "time" or config.test_from is None:
        return None
    if log.times is None:
        raise ConfigError(
            f"--split: expected times in {raw} to split by, found none; use leave-one-out, or files with the time of "
            "each interaction"
        )
    if not len(log.times):
        raise DataError(f"{raw}: expected interactions to split by time, found none that can be used; check the files")
    return find_periods(log.times, config.test_from, config.validation_from)


def _given_parts(log: RawLog, config: PrepareConfig, raw: Path) -> npt.NDArray[np.int8] | None:
    """Return the parts of events if the split that the files bring is to be used: by default if there is one."""
    if config.split == "given" and log.parts is None:
        raise no_given_split(raw)
    return log.parts if config.split in ("given", None) else None


def _of_eligible_users(
    events: EventSelection, config: PrepareConfig, periods: Periods | None, dropped: dict[str, int]
) -> EventSelection:
    """Drop the users whose history, up to the test target, is too short or too long."""
    lengths = until_target(events, periods).lengths
    short = lengths < config.min_history
    long = np.zeros(len(lengths), bool) if config.max_history is None else lengths > config.max_history
    dropped["users_below_min_history"] = int(short.sum())
    dropped["interactions_of_dropped_users"] = int(events.lengths[short].sum())
    dropped["users_above_max_history"] = int(long.sum())
    dropped["interactions_of_users_above_max_history"] = int(events.lengths[long].sum())
    return events.of(~(short | long))


def _of_sampled_users(
    events: EventSelection, log: RawLog, config: PrepareConfig, dropped: dict[str, int]
) -> EventSelection:
    """Draw a sample of users, kept in their order; of two samples with one seed, the larger contains the smaller.

    It is drawn from the sorted ids, so that it does not depend on the order of rows in the files.
    """
    if config.sample_users is None:
        return events
    n_users = len(events.users)
    if config.sample_users > n_users:
        most = "" if config.max_history is None else f" and at most {config.max_history}"
        raise ConfigError(
            f"--sample-users: expected at most {n_users}, the number of users with at least {config.min_history}{most} "
            f"interactions, found {config.sample_users}; leave the option out to keep all"
        )
    by_id = as_numpy(pc.array_sort_indices(log.user_ids.take(as_arrow(events.users))))
    draws = generator(RandomStream.SAMPLED_USERS, config.seed).random(n_users)
    chosen = np.zeros(n_users, bool)
    chosen[by_id[np.argsort(draws, kind="stable")[: config.sample_users]]] = True
    sampled = events.of(chosen)
    dropped["users_not_sampled"] = n_users - len(sampled.users)
    dropped["interactions_of_users_not_sampled"] = len(events) - len(sampled)
    return sampled


def _seen(
    warm: EventSelection, before_future: EventSelection, kept: EventSelection, index: Index, others: Histories | None
) -> SeenItems:
    """Return what users have had before and after their kept events, and without an event, of the items kept."""
    before = before_future.items_alone().first(before_future.lengths - kept.lengths)
    after = warm.items_alone().after(before_future.lengths)
    apart = [after.histories, *([] if others is None else [others.take(kept.users)])]
    return SeenItems(
        distinct_items(renumbered(before.histories, index)),
        distinct_items(*(renumbered(items, index) for items in apart)),
    )


def _numbered(
    kept: EventSelection, index: Index, seen: SeenItems, periods: Periods | None, dropped: dict[str, int], raw: Path
) -> Selected:
    """Number the items that are kept, in the order of the log, and make the split."""
    split = split_of(replace(kept, items=taken(index, kept.items)), periods)
    counted = {reason: number for reason, number in dropped.items() if number}
    given = None
    if kept.parts is not None:
        _check_given(split, raw)
        given = GivenSplit.of(split, kept.times)
    elif periods is not None:
        _check_parts(split, periods, raw)
    items = np.flatnonzero(index >= 0)
    return Selected(kept.users, items, split, seen, periods, counted, given, kept.duplicates)


def _check_given(split: Split, raw: Path) -> None:
    """Check that a given split has something to learn and something to evaluate."""
    training = int(split.training.sum(dtype=np.int64))
    queries = {part: len(held_out(split, part)) for part in get_args(Part)}
    if not training or not any(queries.values()):
        raise DataError(
            f"{raw}: expected a split with events for training, and with users who have a validation or a test target "
            f"after an earlier event, found {training} events, {queries['validation']} and {queries['test']} users; "
            "check the files of the split, or filter less"
        )
    for part, needed_by in (("validation", "`tcf train`"), ("test", "`tcf evaluate`, without --split validation,")):
        if not queries[part]:
            logger.warning(
                f"{raw}: the split has no user with a {part} target after an earlier event, which {needed_by} needs"
            )


def _check_parts(split: Split, periods: Periods, raw: Path) -> None:
    """Check that no part of the split is empty."""
    training, validation, test = (
        int(split.training.sum()),
        len(held_out(split, "validation")),
        len(held_out(split, "test")),
    )
    if not (training and validation and test):
        raise DataError(
            f"{raw}: expected interactions before {periods.shown(periods.validation_from)} for training, users with a "
            f"validation target from then on, and users with a test target from {periods.shown(periods.test_from)} on, "
            f"found {training} interactions, {validation} and {test} users; choose other times with --test-from and "
            "--validation-from, or filter less"
        )


def _nothing_left(log: RawLog, config: PrepareConfig, raw: Path) -> str:
    longest = int(np.diff(log.offsets).max(initial=0))
    skipped = skipped_words(log.skipped)
    most = "" if config.max_history is None else f" and at most {config.max_history}"
    raising = "" if config.max_history is None else ", raise --max-history"
    return (
        f"{raw}: expected users with at least {config.min_history}{most} interactions, found none among "
        f"{len(log.user_ids)} users (longest history: {longest}; rows and events skipped: {skipped}); lower "
        f"--min-history{raising} or check the files"
    )


def _nothing_warm(sampled: EventSelection, config: PrepareConfig, raw: Path) -> str:
    return (
        f"{raw}: expected users with at least {config.min_history} interactions with items that are kept "
        f"{config.min_item_count} times or more, found none among {len(sampled.users)} users; lower --min-item-count "
        "or --min-history"
    )
