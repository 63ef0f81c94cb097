"""A small dataset and model, and what one device makes of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small.data.caches import content
from small.encoders.models import made_up_texts, save_dataset, save_opt
from tcf.config.extract import ExtractConfig
from tcf.extract.stage import extract

__all__ = ["CONFIG", "SHARDS", "TEXTS", "Work", "made_work"]

TEXTS = 120
SHARDS = 30
CONFIG = ExtractConfig(shard_rows=TEXTS // SHARDS, tokens_per_batch=512, devices="cpu")


@dataclass(frozen=True)
class Work:
    """A dataset `d`, a model `m` and what one device made of them, in `c`."""

    folder: Path

    def arguments(self, out: Path) -> dict[str, Any]:
        model = self.folder / "m"
        return {"data": self.folder / "d", "model": model, "name": str(model), "out": out}

    @property
    def expected(self) -> dict[str, bytes]:
        return content(self.folder / "c")


def made_work(folder: Path) -> Work:
    """Make the dataset and the model, and let this process compute."""
    work = Work(folder)
    save_opt(folder / "m")
    save_dataset(folder / "d", made_up_texts(TEXTS))
    extract(**work.arguments(folder / "c"), config=CONFIG)
    assert len(list((folder / "c" / "shards").iterdir())) == SHARDS
    return work
