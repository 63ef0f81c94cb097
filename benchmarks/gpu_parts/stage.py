"""The extraction stage in the GPU check: planned from given rates, timed from the loaded model on."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from geometries import Geometry
from transformers import OPTConfig, OPTModel

from gpu_parts.part import Setting
from small.encoders.models import made_up_texts, save_byte_pairs, save_dataset
from tcf.common.manifest import read_manifest
from tcf.config.extract import ExtractConfig
from tcf.data.cache.cache_files import SHARD
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, open_dataset
from tcf.encoders.folder.opt_sizes import OptSize
from tcf.encoders.prefix_sharing.tree_attention import use_tree_attention
from tcf.encoders.tokenize import TokenSequences, tokenize
from tcf.extract.fill_caches import CacheFiller
from tcf.extract.inputs import ExtractionInputs, open_inputs
from tcf.extract.micro_batches import MicroBatch, micro_batches, shared_micro_batches
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.plan import Plan
from tcf.extract.resolved_settings import may_share_prefixes
from tcf.extract.schedules.engine import Engine, ignore_progress
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.stage import load_planned, plan_stage

__all__ = ["Done", "dataset_of", "extracted", "micro_batches_of", "save_geometry", "tokens_at_once"]

# Rates decide which schedule is planned, not what is measured; measuring them would only cost time.
_RATES = Rates(products=6e14, plain=6e14, block_share=0.8, storage=3e9, copy=3e10)


@dataclass(frozen=True)
class Done:
    """A finished extraction.

    Attributes:
        vectors: (n, D) float32, in item order.
        seconds: time from the loaded model to the last stored vector.
        tokens: number of tokens that the model read.
        plan: the plan.
        weight_bytes: bytes of weights that a sweep read; 0 for other schedules.
        out: the cache.
    """

    vectors: npt.NDArray[np.float32]
    seconds: float
    tokens: int
    plan: Plan
    weight_bytes: int
    out: Path


def dataset_of(setting: Setting, n: int, *, seed: int = 0) -> Dataset:
    """A dataset of `n` distinct texts of 1 to 9 words."""
    path = setting.scratch / f"texts-{n}-{seed}"
    return open_dataset(path) if path.exists() else save_dataset(path, made_up_texts(n, seed))


def save_geometry(geometry: Geometry, folder: Path, dtype: torch.dtype, device: torch.device) -> Path:
    """Save an OPT model with random weights generated on the device, and a tokenizer trained here."""
    if (folder / "tokenizer_config.json").exists():
        return folder
    size = OptSize(geometry.name, geometry.blocks, geometry.heads, geometry.width, geometry.width)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = OPTModel(OPTConfig(**size.settings))
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="4GB")
    save_byte_pairs(folder)
    return folder


def extracted(
    setting: Setting,
    folder: Path,
    dataset: Dataset,
    *,
    config: ExtractConfig,
    loaded: Callable[[Engine], None] | None = None,
    warm: bool = False,
) -> Done:
    """Extract a dataset's vectors into a new cache.

    Args:
        setting: device and scratch folder.
        folder: folder of the model.
        dataset: dataset with the texts.
        config: settings.
        loaded: called with the model when it is loaded, before the clock starts.
        warm: compute everything once before the clock starts, so that kernels are loaded and chosen.
    """
    out = setting.scratch / "cache"
    shutil.rmtree(out, ignore_errors=True)
    inputs = open_inputs(data=dataset.path, model=folder, name=folder.name, out=out, config=config)
    planned = plan_stage(inputs, _RATES)
    with CacheFiller.open(inputs, planned.plan, planned.sweep_folder) as filler:
        engine = load_planned(planned)
        if loaded is not None:
            loaded(engine)
        if warm:
            _compute_once(engine, inputs, dataset, setting)
        began = time.perf_counter()
        filler.fill(engine)
        _wait(setting.device)
        seconds = time.perf_counter() - began
    return Done(
        np.asarray(VectorCache.open(out).vectors_for(dataset), np.float32),
        seconds,
        _tokens(inputs, dataset),
        planned.plan,
        engine.stream.bytes_read if isinstance(engine, SweepEngine) else 0,
        out,
    )


def micro_batches_of(engine: Engine, sequences: TokenSequences, *, shares: bool) -> list[MicroBatch]:
    """Micro-batches as the stage makes them.

    Args:
        engine: the model, which attends along trees from now on if prefixes are shared.
        sequences: the token sequences.
        shares: whether texts that begin alike share states.
    """
    if not shares:
        return micro_batches(sequences.lengths, engine.tokens_per_batch)
    for model in engine.models:
        use_tree_attention(model)
    return shared_micro_batches(sequences, engine.tokens_per_batch)


def tokens_at_once(out: Path) -> set[int]:
    """The sizes of micro-batches in tokens, over the shards of a cache."""
    return {int(read_manifest(path, SHARD).facts["tokens_per_batch"]) for path in (out / "shards").iterdir()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _compute_once(engine: Engine, inputs: ExtractionInputs, dataset: Dataset, setting: Setting) -> None:
    sequences = _sequences(inputs, dataset)
    device = engine.encoder.device
    sinks = {output.layer: [output.sink(sequences.lengths, device)] for output in inputs.outputs}
    batches = micro_batches_of(engine, sequences, shares=may_share_prefixes(inputs.config, inputs.folder))
    engine.encode(batches, sequences, sinks, scratch=setting.scratch / "warm", advance=ignore_progress)
    _wait(setting.device)


def _tokens(inputs: ExtractionInputs, dataset: Dataset) -> int:
    return int(_sequences(inputs, dataset).offsets[-1])


def _sequences(inputs: ExtractionInputs, dataset: Dataset) -> TokenSequences:
    return tokenize(inputs.tokenizer, dataset.texts.to_pylist(), max_tokens=inputs.config.max_tokens)
