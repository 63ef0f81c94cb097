"""RecTools' ranking of a catalogue as its models use it; this script does not use tcf.

    PYTHON benchmarks/rectools_ranking.py JOB.json

It needs a separate environment, because RecTools 0.19 requires a NumPy below version 2:

    python -m venv FOLDER && FOLDER/bin/pip install torch==2.13.0 'rectools[torch]==0.19.0'

The job names a file with states, item vectors and each user's seen items (`offsets`, `items`). The clock runs while the
best items that are not among the seen ones are found, by either of its rankers: one uses torch, one `implicit`.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rectools.models.rank import Distance, ImplicitRanker, TorchRanker
from scipy import sparse

__all__ = ["main"]


def main() -> None:
    """Rank, and save the lists and the seconds."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    with np.load(job["arrays"]) as file:
        states_UD, vectors_ND, offsets, items = (file[name] for name in ("states", "vectors", "offsets", "items"))
    shape = (len(states_UD), len(vectors_ND))
    seen = sparse.csr_matrix((np.ones(len(items), np.float32), items, offsets), shape=shape)
    ranker = (
        TorchRanker(Distance.DOT, "cpu", states_UD, vectors_ND)
        if job["ranker"] == "torch"
        else ImplicitRanker(Distance.DOT, states_UD, vectors_ND, num_threads=job["threads"])
    )
    began = time.perf_counter()
    users, listed, _ = ranker.rank(np.arange(shape[0]), k=job["depth"], filter_pairs_csr=seen)
    seconds = time.perf_counter() - began
    lists = np.full((shape[0], job["depth"]), -1, np.int64)
    users = np.asarray(users)
    lists[users, np.arange(len(users)) - np.searchsorted(users, users)] = listed
    np.save(job["lists"], lists)
    Path(job["result"]).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
