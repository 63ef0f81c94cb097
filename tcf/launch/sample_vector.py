"""The vector of one text from a model folder: checks that the model runs, and shows its output."""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcf.config.extract import ExtractConfig
from tcf.launch.extract_on_devices import extract_on_devices

__all__ = ["SAMPLE", "sample_vector"]

SAMPLE = "The Legend of Zelda: Ocarina of Time"


def sample_vector(model: Path, text: str = SAMPLE) -> npt.NDArray[np.float32]:
    """Compute the vector of a text, (width,), as `tcf extract` does, even with a model larger than memory.

    Args:
        model: a model folder.
        text: the text.

    Raises:
        TcfError: the model cannot be run here.
    """
    import pyarrow as pa

    from tcf.data.cache.caches import VectorCache
    from tcf.data.dataset import Histories, write_dataset
    from tcf.data.split import leave_one_out

    with tempfile.TemporaryDirectory(prefix="tcf-") as place:
        dataset = write_dataset(
            Path(place, "data"),
            item_ids=pa.array(["sample"], pa.large_string()),
            texts=pa.array([text], pa.large_string()),
            user_ids=pa.array(["nobody"], pa.large_string()),
            split=leave_one_out(Histories(np.array([0, 1], np.int64), np.zeros(1, np.int32))),
            inputs={},
            config={},
            statistics={},
        )
        cache = Path(place, "cache")
        config = ExtractConfig(storage="float32", shard_rows=1, tokens_per_batch=ExtractConfig().max_tokens)
        extract_on_devices(data=Path(place, "data"), model=model, name=model.name, out=cache, config=config)
        return np.asarray(VectorCache.open(cache).vectors_for(dataset)[0], np.float32)
