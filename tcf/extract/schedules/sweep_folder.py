"""Where a sweep keeps unfinished work, and how its shards were cut, so that a restart cuts the same shards.

The size of a sweep's shards depends on free memory and on how much is missing, and both may have changed at a restart;
work saved for one shard cannot be used for another.
"""

import glob
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tcf.common.files import publish_file
from tcf.common.manifest import digest
from tcf.common.parsing import read_json
from tcf.config.extract import ExtractConfig

__all__ = ["SweepFolder"]


@dataclass(frozen=True)
class SweepFolder:
    """The directory of one encoder's unfinished work.

    Attributes:
        folder: beside the cache, which may not exist yet; its name contains a digest of the encoder, because another
            encoder's cache may take the same place.
    """

    folder: Path

    @classmethod
    def beside(cls, cache: Path, identities: Sequence[Mapping[str, Any]]) -> "SweepFolder":
        """The folder for the caches that one extraction fills.

        Args:
            cache: the first cache.
            identities: for each cache, everything that its numbers depend on.
        """
        purpose = digest([dict(identity) for identity in identities])[:32]
        return cls(cache.parent / f".{cache.name}.{purpose}.sweep")

    def of_shard(self, name: str) -> Path:
        """The directory of a shard."""
        return self.folder / name

    def remember(self, shard_rows: int, tokens_per_batch: int | None) -> None:
        """Store how shards and micro-batches are cut.

        Raises:
            RunError: it cannot be written.
        """
        values = {"shard_rows": shard_rows, "tokens_per_batch": tokens_per_batch}
        publish_file(self.folder / "cuts.json", json.dumps(values).encode())

    def with_remembered_cuts(self, config: ExtractConfig) -> ExtractConfig:
        """The settings, with missing sizes of shards and micro-batches taken from the sweep that left work here."""
        try:
            values = read_json(self.folder / "cuts.json")
            rows, tokens = values["shard_rows"], values["tokens_per_batch"]
        except (OSError, ValueError, KeyError, TypeError):
            return config
        if type(rows) is not int or not (tokens is None or type(tokens) is int):
            return config
        return replace(
            config,
            shard_rows=config.shard_rows or rows,
            tokens_per_batch=config.tokens_per_batch or tokens,
        )

    def of_others(self) -> list[Path]:
        """Folders left by extractions into the same cache with another encoder or other options."""
        cache = self.folder.name.rsplit(".", 2)[0]
        found = self.folder.parent.glob(f"{glob.escape(cache)}.{'[0-9a-f]' * 32}.sweep")
        return sorted(set(found) - {self.folder})

    def clear(self, *, others: bool) -> None:
        """Remove the folder, because its work is done.

        Args:
            others: other processes may be working on other shards; their unfinished work is kept.
        """
        if others and any(place.is_dir() for place in self.folder.glob("*")):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
