"""How many items occur close to any of a user's latest items: the candidates above a target that does not.

Shapes: B users of a block, N ranked items.
"""

import numpy as np
import numpy.typing as npt

from tcf.data.histories import Histories, owners, per_user
from tcf.evaluate.baselines.pair_counts import PairCounts
from tcf.evaluate.baselines.recent_rows import RecentRows

__all__ = ["MOST_KEYS", "union_sizes"]

_NONE = np.uint32(2**32 - 1)

MOST_KEYS = int(_NONE)
"""A block may have so many pairs of a user and an item at most."""


def union_sizes(
    pairs: PairCounts, rows: RecentRows, excluded: Histories, marks_N: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Count the items that any of a user's rows names and that are not excluded, (B,).

    Args:
        pairs: the rows.
        rows: which of them each user has.
        excluded: the users' items that are not counted.
        marks_N: (N,) False, in which the function works; False again afterwards.
    """
    n_columns, n_users = pairs.n_columns, len(rows)
    users_R, items_R, _ = rows.merged
    lengths_R = pairs.sizes(items_R)
    keys = np.zeros(int(lengths_R.sum()), np.uint32)
    pairs.gather(pairs.columns.view(np.uint32), items_R, keys)
    ends = np.concatenate([[0], np.cumsum(lengths_R)])[np.searchsorted(users_R, np.arange(n_users + 1))]
    in_main, excluded_are_in = np.zeros(len(keys), np.bool_), np.zeros(len(excluded.items), np.bool_)
    for item, first, past in rows.runs:
        columns = pairs.columns[pairs.row(item)]
        marks_N[columns] = True
        part, excluded_part = slice(ends[first], ends[past]), slice(excluded.offsets[first], excluded.offsets[past])
        in_main[part] = marks_N[keys[part]]
        excluded_are_in[excluded_part] = marks_N[excluded.items[excluded_part]]
        marks_N[columns] = False
    keys += np.repeat((users_R * n_columns).astype(np.uint32), lengths_R)
    keys[in_main] = _NONE  # counted as a part of the main row
    keys.sort()
    offsets = np.searchsorted(keys, (np.arange(n_users + 1) * n_columns).astype(np.uint32))
    keys = keys[: offsets[-1]]
    repeated = keys[1:][keys[1:] == keys[:-1]] // np.uint32(n_columns)
    excluded_are_in |= _are_in(keys, (owners(excluded) * n_columns + excluded.items).astype(np.uint32))
    sizes = pairs.sizes(rows.main_U) + np.diff(offsets)
    return sizes - np.bincount(repeated, minlength=n_users) - per_user(excluded_are_in, excluded.offsets)


def _are_in(keys: npt.NDArray[np.uint32], wanted: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Return which of the wanted keys are among the sorted keys."""
    if not len(keys):
        return np.zeros(len(wanted), np.bool_)
    found: npt.NDArray[np.bool_] = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    return found
