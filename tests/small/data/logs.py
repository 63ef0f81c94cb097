"""Small logs of events with times, as a reader returns them, and what is selected of them, by raw ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from small.data.raw import write_files
from tcf.data.filters import Selected
from tcf.data.raw.raw_log import RawLog
from tcf.data.split import Part, held_out, training_histories

__all__ = ["Events", "asked", "histories_left", "log_of", "recbole_folder", "seen_by", "trained_on"]

Events = Mapping[str, Sequence[tuple[str, int]]]  # user to (item, time), oldest first


def log_of(
    events: Events, items: Sequence[str], *, timed: bool = True, parts: Mapping[str, Sequence[int]] | None = None
) -> RawLog:
    """A log in which the text of item `a` is `Text of a`; `parts` has the part of each event, by user."""
    rows = [row for user in events.values() for row in user]
    return RawLog(
        item_ids=pa.array(items, pa.large_string()),
        texts=pa.array([f"Text of {item}" for item in items], pa.large_string()),
        user_ids=pa.array(list(events), pa.large_string()),
        offsets=np.cumsum([0, *map(len, events.values())]).astype(np.int64),
        items=np.array([items.index(item) for item, _ in rows], np.int32),
        skipped={},
        files={},
        times=np.array([time for _, time in rows], np.int64) if timed else None,
        parts=None if parts is None else np.array([part for user in events for part in parts[user]], np.int8),
    )


def recbole_folder(path: Path, lines: Sequence[tuple[str, str, int]], items: Sequence[str]) -> Path:
    """The same as files, from (user, item, time) line by line."""
    texts = "".join(f"{item}\tText of {item}\n" for item in items)
    events = "".join(f"{user}\t{item}\t{time}\n" for user, item, time in lines)
    return write_files(
        path,
        {
            "x.item": "item_id:token\ttitle:token_seq\n" + texts,
            "x.inter": "user_id:token\titem_id:token\ttimestamp:float\n" + events,
        },
    )


def histories_left(found: Selected, log: RawLog) -> dict[str, list[str]]:
    """Every kept user's items."""
    return _by_user(log, found, found.users, found.split.histories.offsets, found.split.histories.items)


def trained_on(found: Selected, log: RawLog) -> dict[str, list[str]]:
    """Every kept user's training items."""
    training = training_histories(found.split)
    return _by_user(log, found, found.users, training.offsets, training.items)


def seen_by(found: Selected, log: RawLog) -> dict[str, tuple[str, str]]:
    """What every kept user has had earlier and otherwise, the items' letters in one word each."""
    earlier, others = (
        _by_user(log, found, found.users, items.offsets, items.items) for items in found.seen.parts.values()
    )
    return {user: ("".join(earlier[user]), "".join(others[user])) for user in earlier}


def asked(found: Selected, log: RawLog, part: Part) -> dict[str, tuple[list[str], str]]:
    """Earlier items and first target of every user who is asked about."""
    queries = held_out(found.split, part, "first")
    users = found.users[queries.users]
    earlier = _by_user(log, found, users, queries.earlier.offsets, queries.earlier.items)
    targets = [_ids(log, found)[target] for target in queries.targets.items.tolist()]
    return {user: (items, target) for (user, items), target in zip(earlier.items(), targets, strict=True)}


def _ids(log: RawLog, found: Selected) -> list[str]:
    return [str(log.item_ids[row].as_py()) for row in found.items.tolist()]


def _by_user(
    log: RawLog, found: Selected, users: "np.ndarray", offsets: "np.ndarray", items: "np.ndarray"
) -> dict[str, list[str]]:
    ids, starts = _ids(log, found), offsets.tolist()
    names = [log.user_ids[user].as_py() for user in users.tolist()]
    return {
        name: [ids[item] for item in items[start:stop].tolist()]
        for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True)
    }
