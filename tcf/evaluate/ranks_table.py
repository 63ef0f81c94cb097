"""Ranks as a table: a row for each user and target, under the ids of the raw data.

Shapes: U users, T targets of all users.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tcf.data.dataset import Dataset
from tcf.data.histories import owners
from tcf.data.split import Queries
from tcf.ranking.catalogue import blocks
from tcf.ranking.ranks import Ranks

__all__ = ["ranks_of", "write_ranks"]

_SCHEMA = pa.schema(
    [
        ("user_id", pa.large_string()),
        ("item_id", pa.large_string()),
        ("rank", pa.float64()),
        ("ties", pa.int64()),
        ("candidates", pa.int64()),
        ("item_interactions", pa.int32()),
        ("history", pa.int32()),
    ]
)
_ROW_GROUP = 2**20  # users; the ids of a row group are in memory at once


def ranks_of(table: pa.Table) -> Ranks:
    """Read the ranks of a file of ranks, or of some of its rows."""
    users = table["user_id"].combine_chunks()
    first = np.flatnonzero(np.concatenate([[True], pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)]))
    rank, equal, candidates = (table[name].to_numpy() for name in ("rank", "ties", "candidates"))
    greater = (rank - 1 - equal / 2).round().astype(np.int64)
    return Ranks(greater, equal, candidates[first], offsets=np.append(first, len(rank)))


def write_ranks(ranks: Ranks, queries: Queries, dataset: Dataset, file: Path) -> None:
    """Write a row for each user and target, with the ids of the raw data.

    Args:
        ranks: the ranks.
        queries: the users and their targets, in the order of the ranks.
        dataset: the dataset of both.
        file: a Parquet file to write.
    """
    # User ids are mostly distinct, so dictionary encoding saves nothing.
    repeated = [name for name in _SCHEMA.names if name != "user_id"]
    owner_T, targets_T = owners(queries.targets), queries.targets.items
    history_U = queries.earlier.lengths.astype(np.int32)
    with pq.ParquetWriter(file, _SCHEMA, use_dictionary=repeated) as writer:
        for rows in blocks(len(targets_T), _ROW_GROUP):
            users, items = owner_T[rows], targets_T[rows]
            columns = [
                dataset.user_ids.take(pa.array(queries.users[users])),
                dataset.item_ids.take(pa.array(items)),
                *map(pa.array, (ranks.rank[rows], ranks.equal[rows], ranks.candidates[users])),
                *map(pa.array, (dataset.training_interactions[items].astype(np.int32), history_U[users])),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), row_group_size=_ROW_GROUP)
