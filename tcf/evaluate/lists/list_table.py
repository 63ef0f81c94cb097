"""Lists as rows under the ids of the raw data.

Shapes: U users, K places, M members of a combination.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.dataset import Dataset
from tcf.ranking.ranked_lists import RankedLists

__all__ = ["LISTS_SCHEMA", "list_table", "lists_schema"]

LISTS_SCHEMA = pa.schema(
    [("user_id", pa.large_string()), ("place", pa.int32()), ("item_id", pa.large_string()), ("score", pa.float32())]
)


def lists_schema(members: Sequence[str] = ()) -> pa.Schema:
    """Return the columns of lists, with that of each member's share in the score: `share_text` of the member `text`."""
    return pa.schema([*LISTS_SCHEMA, *((f"share_{name}", pa.float32()) for name in members)])


def list_table(
    dataset: Dataset,
    users: npt.NDArray[np.int64],
    lists: RankedLists,
    members: Sequence[str] = (),
    shares_UKM: npt.NDArray[np.float32] | None = None,
) -> pa.Table:
    """Return a row for each user and place, the best place, 1, first.

    Args:
        dataset: the dataset.
        users: (U,) the users, by their indices in the dataset.
        lists: their lists, of indices in the dataset.
        members: the members of a combination, for a column of each one's shares in the scores.
        shares_UKM: the shares; None without members.
    """
    there_UK = lists.items_UK >= 0
    rows, places = np.nonzero(there_UK)
    columns = [
        dataset.user_ids.take(pa.array(users[rows])),
        pa.array(places + 1, pa.int32()),
        dataset.item_ids.take(pa.array(lists.items_UK[there_UK])),
        pa.array(lists.scores_UK[there_UK], pa.float32()),
    ]
    if shares_UKM is not None:
        columns += [pa.array(shares_UKM[there_UK, number], pa.float32()) for number in range(len(members))]
    return pa.Table.from_arrays(columns, schema=lists_schema(members))
