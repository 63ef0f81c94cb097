"""Opens and checks the inputs of an extraction: dataset, model, caches, and settings with `auto` resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.devices import dtype_name
from tcf.common.files import check_destination, check_early, is_published
from tcf.common.integrity.checksums import Verify
from tcf.common.output.output_file import check_output_file
from tcf.config.extract import ExtractConfig
from tcf.data.cache.lookup import finished_metadata, shard_facts, stored_sequences
from tcf.data.cache.repair import drop_damaged
from tcf.data.cache.writer import check_cache
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weights_digest
from tcf.encoders.tokenize import TextTokenizer
from tcf.extract.outputs import Output, plan_outputs
from tcf.extract.resolved_settings import Settings, count_unpooled, resolve
from tcf.extract.shards import CUT

__all__ = ["ExtractionInputs", "open_inputs", "stored_in"]


@dataclass(frozen=True)
class ExtractionInputs:
    """The dataset, the model and the caches of an extraction.

    Attributes:
        data: the dataset directory.
        items: its item table.
        folder: the model.
        tokenizer: the encoder's tokenizer.
        outputs: the caches.
        stored: for each cache, the sequences that it had when it was opened.
        cut: how its shards are cut; see `tcf.extract.shards.cut`.
        skip: tokens at the start of a text that are not pooled, those of a prompt.
        settings: settings resolved for the model and this machine.
        config: settings as requested.
        name: the model's name, for messages.
        out: the cache, or the folder of several caches.
    """

    data: Path
    items: ItemTable
    folder: ModelFolder
    tokenizer: TextTokenizer
    outputs: Sequence[Output]
    stored: Sequence[KeySet]
    cut: int
    skip: int
    settings: Settings
    config: ExtractConfig
    name: str
    out: Path

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers whose states are stored, each once."""
        return tuple(dict.fromkeys(output.layer for output in self.outputs))

    def finished_counts(self) -> Mapping[str, int] | None:
        """The dataset's counts as stored in the first cache; None if any cache lacks anything."""
        counts = [
            finished_metadata(output.path, self.items, keys, self.config.verify)
            for output, keys in zip(self.outputs, self.stored, strict=True)
        ]
        return counts[0] if all(counts) else None

    def check_destinations(self) -> None:
        """Check before the work that its results can be written.

        Raises:
            RunError: a cache cannot be written.
        """
        for output in self.outputs:
            check_destination(output.path / "shards" / "any" if is_published(output.path) else output.path)


def open_inputs(*, data: Path, model: Path, name: str, out: Path, config: ExtractConfig) -> ExtractionInputs:
    """Open the inputs of an extraction; loads no weights, and writes nothing but drops what it repairs.

    Args:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        name: the model's name, for messages.
        out: the cache, or the folder of several caches.
        config: settings.

    Raises:
        DataError: `data` is no dataset.
        ConfigError: a setting does not suit the model or this machine.
        ModelError: the folder holds no model.
        CacheError: a cache was made by another encoder or with other options.
        RunError: a Parquet file cannot be written.
    """
    check_early(out)
    items = ItemTable.open(data, verify=config.verify)
    folder = open_model_folder(model, trust_remote_code=config.trust_remote_code)
    settings = resolve(config, folder)
    tokenizer = load_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    skip = count_unpooled(tokenizer, settings.prefix, settings.max_tokens) if config.pooled_layers else 0
    outputs = plan_outputs(out, config, folder, settings, skip, _identity(folder, tokenizer, config, settings))
    for output in outputs if config.repair else ():
        check_cache(output.path, output.identity, output.kind)
        drop_damaged(output.path, output.kind)
    stored = [stored_in(output, config.verify) for output in outputs]
    for output in outputs if config.parquet else ():
        check_output_file(output.parquet)
    cut = min(map(_cut_of, outputs))
    return ExtractionInputs(data, items, folder, tokenizer, outputs, stored, cut, skip, settings, config, name, out)


def stored_in(output: Output, verify: Verify) -> KeySet:
    """The sequences stored in a cache.

    Raises:
        CacheError: its path holds something else, or another encoder's cache.
    """
    check_cache(output.path, output.identity, output.kind)
    return stored_sequences(output.path, output.kind, verify)


def _cut_of(output: Output) -> int:
    """How the shards of a cache are cut: as those that it has, so that an unfinished one lacks whole shards."""
    return min((int(facts.get("cut", 1)) for facts in shard_facts(output.path, output.kind)), default=CUT)


def _identity(
    folder: ModelFolder, tokenizer: TextTokenizer, config: ExtractConfig, settings: Settings
) -> dict[str, Any]:
    """Everything that a number depends on besides its text; layer, pooling and storage type are added per cache."""
    return {
        "architecture": folder.architecture,
        "family": folder.family,
        "weights": weights_digest(folder.path),
        "tokenizer": tokenizer.digest,
        "prefix": settings.prefix,
        "max_tokens": settings.max_tokens,
        **({"cut_from": "start"} if tokenizer.keeps_end else {}),
        "project_out": config.project_out,
        "compute": dtype_name(settings.dtype),
    }
