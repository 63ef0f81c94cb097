"""Stage one: a vector for every text of a dataset that the cache does not have yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tcf.config import ExtractConfig
from tcf.data.cache import VectorCache
from tcf.data.cache_files import Vectors
from tcf.data.cache_writer import check_cache, create_cache, shard_path, write_join, write_shard
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.keys import Keys, first_occurrences, locate, sequence_keys, text_keys
from tcf.errors import ConfigError
from tcf.extract.batches import cut_shards
from tcf.extract.resident import default_tokens_per_batch, encode
from tcf.extract.store import to_storage
from tcf.files import check_destination, is_published
from tcf.models.device import resolve_device
from tcf.models.encoder import load_encoder, resolve_dtype
from tcf.models.folder import ModelFolder, Pooling, open_model_folder, weights_digest
from tcf.models.tokens import TokenSequences, check_max_tokens, load_tokenizer, tokenize, tokenizer_digest
from tcf.progress import Progress

__all__ = ["Extraction", "extract"]


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        items: items of the dataset.
        texts: distinct texts among them.
        sequences: distinct token sequences among those.
        computed: vectors computed by this call; the others were in the cache.
        cut: distinct texts longer than the token limit.
    """

    items: int
    texts: int
    sequences: int
    computed: int
    cut: int


@dataclass(frozen=True)
class _Work:
    """A dataset's texts as token sequences.

    Attributes:
        texts: (n_texts, 2) keys of the distinct texts.
        sequences: token ids of the distinct texts.
        keys: (n_texts, 2) their keys.
        distinct: rows of `sequences` where a token sequence appears first, in item order.
        items: (n_texts,) the first item that has each text.
    """

    texts: Keys
    sequences: TokenSequences
    keys: Keys
    distinct: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Settings:
    """The extraction's settings with every `auto` resolved."""

    pooling: Pooling
    dtype: torch.dtype
    device: torch.device
    tokens_per_batch: int


def extract(*, data: Path, model: Path, name: str, out: Path, config: ExtractConfig) -> Extraction:
    """Bring a cache to hold a vector for every item text of a dataset.

    Shards are published one by one; an interrupted extraction goes on where it was when it is started again. A new
    cache appears with its first shard, so that a model or a setting that does not serve leaves none behind.

    Args:
        data: a dataset directory.
        model: a local model folder.
        name: the model's name, for people.
        out: the cache; made, or appended to if it is of the same encoder.
        config: settings.

    Raises:
        DataError: no dataset is there.
        ConfigError: a setting does not fit the model or this machine.
        ModelError: the model cannot be loaded, or gives a value that cannot be stored.
        CacheError: the cache is of another encoder or has other options.
    """
    dataset = open_dataset(data)
    folder = open_model_folder(model)
    settings = _resolve(config, folder)
    tokenizer = load_tokenizer(folder)
    identity = _identity(folder, tokenizer_digest(tokenizer), config, settings)
    there = check_cache(out, identity)
    work = _tokenized(dataset, folder, tokenizer, config.max_tokens)
    missing = _missing(work, VectorCache.open(out)) if there else work.distinct
    if len(missing) or not there:
        check_destination(out / "shards" / "any" if there else out)
    shards = _computed(dataset, folder, work, missing, out, config, settings)
    first = [*islice(shards, 1)]
    create_cache(out, identity=identity, model=name, width=folder.width)
    facts = {
        "items": dataset.n_items,
        "texts": len(work.texts),
        "sequences": len(work.distinct),
        "texts_cut": work.sequences.cut,
    }
    write_join(out, dataset, texts=work.texts, sequences=work.keys, facts=facts)
    for keys, vectors in chain(first, shards):
        write_shard(out, keys, vectors)
    return Extraction(dataset.n_items, len(work.texts), len(work.distinct), len(missing), work.sequences.cut)


def _resolve(config: ExtractConfig, folder: ModelFolder) -> _Settings:
    device = resolve_device(config.device)
    check_max_tokens(folder, config.max_tokens)
    pooling = folder.pooling if config.pooling == "auto" else config.pooling
    if pooling is None:
        raise ConfigError(
            f"--pooling: expected mean, first or last, because {folder.path / '1_Pooling'} asks for one that is not "
            "supported; found auto"
        )
    return _Settings(
        pooling=pooling,
        dtype=resolve_dtype(config.dtype, folder, device),
        device=device,
        tokens_per_batch=config.tokens_per_batch or default_tokens_per_batch(device),
    )


def _identity(folder: ModelFolder, tokenizer: str, config: ExtractConfig, settings: _Settings) -> dict[str, Any]:
    """All that decides a vector, given its text."""
    return {
        "architecture": folder.architecture,
        "family": folder.family,
        "weights": weights_digest(folder.path),
        "tokenizer": tokenizer,
        "max_tokens": config.max_tokens,
        "layer": "last",
        "pooling": settings.pooling,
        "compute": str(settings.dtype).removeprefix("torch."),
        "storage": config.storage,
    }


def _tokenized(dataset: Dataset, folder: ModelFolder, tokenizer: Any, max_tokens: int) -> _Work:
    """Tokenise every distinct text once."""
    all_texts = text_keys(dataset.texts)
    items = first_occurrences(all_texts)
    texts = dataset.texts.take(items).to_pylist()
    sequences = tokenize(tokenizer, texts, folder=folder, max_tokens=max_tokens)
    keys = sequence_keys(sequences.tokens, sequences.offsets)
    return _Work(all_texts[items], sequences, keys, first_occurrences(keys), items)


def _missing(work: _Work, cache: VectorCache) -> npt.NDArray[np.int64]:
    """The distinct token sequences that a cache has no vector for yet."""
    return work.distinct[locate(work.keys[work.distinct], cache.keys) < 0]


def _computed(
    dataset: Dataset,
    folder: ModelFolder,
    work: _Work,
    missing: npt.NDArray[np.int64],
    out: Path,
    config: ExtractConfig,
    settings: _Settings,
) -> Iterator[tuple[Keys, Vectors]]:
    """Compute the missing vectors, a shard at a time; shards that another worker has published are passed over."""
    if not len(missing):
        return
    encoder = load_encoder(folder, settings.dtype, settings.device)
    total, done = len(work.distinct), len(work.distinct) - len(missing)
    with Progress("extract", total, "items", done=done, extra_unit="tokens") as progress:
        for rows in cut_shards(missing, config.shard_rows):
            keys = work.keys[rows]
            if is_published(shard_path(out, keys)):
                progress.advance(len(rows))
                continue
            vectors = encode(
                encoder,
                work.sequences,
                rows,
                pooling=settings.pooling,
                tokens_per_batch=settings.tokens_per_batch,
                advance=lambda texts, tokens: progress.advance(texts, extra=tokens),
            )
            yield keys, to_storage(vectors, config.storage, dataset=dataset, items=work.items[rows])
