"""Lists as rows under the ids of the raw data.

Shapes: U users, K places.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.dataset import Dataset
from tcf.ranking.ranked_lists import RankedLists

__all__ = ["LISTS_SCHEMA", "list_table"]

LISTS_SCHEMA = pa.schema(
    [("user_id", pa.large_string()), ("place", pa.int32()), ("item_id", pa.large_string()), ("score", pa.float32())]
)


def list_table(dataset: Dataset, users: npt.NDArray[np.int64], lists: RankedLists) -> pa.Table:
    """Return a row for each user and place, the best place, 1, first.

    Args:
        dataset: the dataset.
        users: (U,) the users, by their indices in the dataset.
        lists: their lists, of indices in the dataset.
    """
    there_UK = lists.items_UK >= 0
    rows, places = np.nonzero(there_UK)
    columns = [
        dataset.user_ids.take(pa.array(users[rows])),
        pa.array(places + 1, pa.int32()),
        dataset.item_ids.take(pa.array(lists.items_UK[there_UK])),
        pa.array(lists.scores_UK[there_UK], pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=LISTS_SCHEMA)
