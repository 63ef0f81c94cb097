"""Where a sweep keeps unfinished work, and how its shards were cut, so that the next start cuts the same ones.

The size of a sweep's shards follows from free memory and from how much is missing, and both may have changed when it is
started again; work that was saved for one shard serves no other.
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
from tcf.config.extract import ExtractConfig

__all__ = ["SweepFolder"]


@dataclass(frozen=True)
class SweepFolder:
    """The directory of one encoder's unfinished work.

    Attributes:
        folder: beside the cache, which may not be there yet; its name tells the encoder, because another one's cache
            may come to the same place.
    """

    folder: Path

    @classmethod
    def beside(cls, cache: Path, identities: Sequence[Mapping[str, Any]]) -> "SweepFolder":
        """Of the caches that one extraction fills.

        Args:
            cache: the first of them.
            identities: what decides the numbers of each.
        """
        purpose = digest([dict(identity) for identity in identities])[:32]
        return cls(cache.parent / f".{cache.name}.{purpose}.sweep")

    def of_shard(self, name: str) -> Path:
        """The directory for a shard."""
        return self.folder / name

    def remember(self, shard_rows: int, tokens_per_batch: int | None) -> None:
        """Say how shards and micro-batches are cut.

        Raises:
            RunError: it cannot be written.
        """
        values = {"shard_rows": shard_rows, "tokens_per_batch": tokens_per_batch}
        publish_file(self.folder / "cuts.json", json.dumps(values).encode())

    def with_remembered_cuts(self, config: ExtractConfig) -> ExtractConfig:
        """The settings with shards and micro-batches cut as by the sweep that left work here, unless they say how."""
        try:
            values = json.loads((self.folder / "cuts.json").read_text(encoding="utf-8"))
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
        """What was left by extractions into the same cache with another encoder or other options."""
        cache = self.folder.name.rsplit(".", 2)[0]
        found = self.folder.parent.glob(f"{glob.escape(cache)}.{'[0-9a-f]' * 32}.sweep")
        return sorted(set(found) - {self.folder})

    def clear(self, *, others: bool) -> None:
        """All that was to be done here is done.

        Args:
            others: other processes may be at work on other shards; what they keep stays.
        """
        if others and any(place.is_dir() for place in self.folder.glob("*")):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
