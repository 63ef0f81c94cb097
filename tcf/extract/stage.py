"""Stage one: a vector, or the states of every token, for every text of a dataset that the caches do not have yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.devices import dtype_name
from tcf.common.files import check_destination, is_published
from tcf.config.extract import ExtractConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.cache.export import export
from tcf.data.cache.lookup import finished_metadata, lacking_sequences, stored_sequences
from tcf.data.cache.writer import check_cache
from tcf.data.dataset import open_dataset
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.weight_files import weights_digest
from tcf.encoders.tokenize import TextTokenizer
from tcf.extract.outputs import Output, plan_outputs
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.planned import Loading, Planned, plain
from tcf.extract.resolved_settings import Settings, resolve

__all__ = ["Extraction", "extract"]


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        caches: the caches that it filled.
        parquet: the Parquet files that it wrote.
        items: items of the dataset.
        texts: distinct texts among them.
        sequences: distinct token sequences among those.
        computed: token sequences computed by this call; the others were in the caches.
        cut: distinct texts longer than the token limit; None, like the next two, where the cache was pruned to this
            dataset and does not know.
        unknown_words: words of distinct texts that the encoder has no vector for.
        without_tokens: distinct texts of which no token was left; their vectors are zero.
        max_tokens: the token limit.
        part: which part of the shards was to be computed, as `i/n`; None for all.
        elsewhere: distinct token sequences that are left to other parts and not in the caches yet.
    """

    caches: tuple[Path, ...]
    parquet: tuple[Path, ...]
    items: int
    texts: int
    sequences: int
    computed: int
    cut: int | None
    unknown_words: int | None
    without_tokens: int | None
    max_tokens: int
    part: str | None = None
    elsewhere: int = 0

    def summary(self) -> str:
        """What was done, in lines for people."""
        lines = [
            f"{self.items} items, {self.texts} distinct texts, {self.sequences} distinct token sequences, "
            f"{self.computed} computed now",
            f"{'an unknown number of' if self.cut is None else self.cut} texts{self._share_cut()} cut at "
            f"{self.max_tokens} tokens",
        ]
        if self.unknown_words or self.without_tokens:
            lines.append(
                f"{self.unknown_words} words without a vector left out; {self.without_tokens} texts, of which nothing "
                "was left, have the zero vector"
            )
        if self.part is not None:
            lines.append(f"shards {self.part}: done; sequences of other parts not here yet: {self.elsewhere}")
        return "\n".join([*lines, *(f"in: {path}" for path in (*self.caches, *self.parquet))])

    def _share_cut(self) -> str:
        return "" if self.cut is None else f" ({100 * self.cut / max(1, self.texts):.1f} %)"


def extract(
    *,
    data: Path,
    model: Path,
    name: str,
    out: Path,
    config: ExtractConfig,
    loading: Loading = plain,
    rates: Rates | None = None,
) -> Extraction:
    """Bring caches to hold what an encoder gives for every item text of a dataset.

    Shards are published one by one; an interrupted extraction goes on where it was when it is started again. A new
    cache appears with its first shard, so that a model or a setting that does not serve leaves none behind.

    Args:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        name: the model's name, for people.
        out: the cache, or the folder of several; made, or appended to if they are of the same encoder.
        config: settings.
        loading: called when there is something to compute, to load a language model that fits each device.
        rates: how fast this machine is, for the plan; measured, or remembered, if not given.

    Raises:
        DataError: no dataset is there.
        ConfigError: a setting does not fit the model or this machine.
        ModelError: the model cannot be loaded, or gives a value that cannot be stored.
        CacheError: a cache is of another encoder or has other options.
    """
    items = ItemTable.open(data)
    folder = open_model_folder(model, trust_remote_code=config.trust_remote_code)
    settings = resolve(config, folder)
    tokenizer = load_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    outputs = plan_outputs(out, config, folder, settings.pooling, _identity(folder, tokenizer, config, settings))
    stored = [_stored(output) for output in outputs]
    for output in outputs if config.parquet else ():
        check_destination(_parquet(output))
    counts, computed = _finished(items, outputs, stored), 0
    if counts is None:
        _check_destinations(outputs)
        planned = Planned(items, folder, tokenizer, outputs, stored, settings, config, name, out, rates)
        counts, computed = planned.bring(loading)
    parquet = _write_parquet(data, outputs) if config.parquet else ()
    elsewhere = _missing(items, outputs) if config.shards else 0
    return _told(outputs, parquet, counts, computed, config, elsewhere)


def _finished(items: ItemTable, outputs: Sequence[Output], stored: Sequence[KeySet]) -> Mapping[str, int] | None:
    """What the first cache counted, if all of them are finished; one pruned to this dataset does not know it all."""
    facts = [finished_metadata(output.path, items, keys) for output, keys in zip(outputs, stored, strict=True)]
    return facts[0] if all(facts) else None


def _check_destinations(outputs: Sequence[Output]) -> None:
    """Find out before the work whether its results can be written."""
    for output in outputs:
        check_destination(output.path / "shards" / "any" if is_published(output.path) else output.path)


def _told(
    outputs: Sequence[Output],
    parquet: tuple[Path, ...],
    counts: Mapping[str, int],
    computed: int,
    config: ExtractConfig,
    elsewhere: int,
) -> Extraction:
    return Extraction(
        caches=tuple(output.path for output in outputs),
        parquet=parquet,
        items=counts["items"],
        texts=counts["texts"],
        sequences=counts["sequences"],
        computed=computed,
        cut=counts.get("texts_cut"),
        unknown_words=counts.get("unknown_words"),
        without_tokens=counts.get("texts_without_tokens"),
        max_tokens=config.max_tokens,
        part=config.shards,
        elsewhere=elsewhere,
    )


def _missing(items: ItemTable, outputs: Sequence[Output]) -> int:
    """Distinct token sequences of the dataset that a cache lacks by now."""
    missing = KeySet()
    for output in outputs:
        for keys in lacking_sequences(output.path, items, _stored(output)):
            missing.add(keys)
    return len(missing)


def _identity(
    folder: ModelFolder, tokenizer: TextTokenizer, config: ExtractConfig, settings: Settings
) -> dict[str, Any]:
    """All that decides a number, given its text; layer, pooling and storage come with each cache."""
    return {
        "architecture": folder.architecture,
        "family": folder.family,
        "weights": weights_digest(folder.path),
        "tokenizer": tokenizer.digest,
        "prefix": config.prefix,
        "max_tokens": config.max_tokens,
        "project_out": config.project_out,
        "compute": dtype_name(settings.dtype),
    }


def _stored(output: Output) -> KeySet:
    """The sequences that a cache has.

    Raises:
        CacheError: something else is there, or another encoder's cache.
    """
    check_cache(output.path, output.identity, output.kind)
    return stored_sequences(output.path, output.kind)


def _write_parquet(data: Path, outputs: Sequence[Output]) -> tuple[Path, ...]:
    """The dataset's vectors of every cache, in a file beside it."""
    dataset = open_dataset(data)
    written = []
    for output in outputs:
        if output.pooling is not None:
            export(VectorCache.open(output.path), dataset, format="parquet", out=_parquet(output))
            written.append(_parquet(output))
    return tuple(written)


def _parquet(output: Output) -> Path:
    return output.path.with_name(f"{output.path.name}.parquet")
