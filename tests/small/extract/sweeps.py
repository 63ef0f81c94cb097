"""Sweeps and pipelines of small models, beside transformers' own forward at equal micro-batches."""

import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor

from small.encoders.families import FAMILIES, own_model
from small.encoders.models import TITLES, made_up_texts
from tcf.config.extract import ExtractConfig
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import TokenSequences, tokenize
from tcf.extract.micro_batches import Indices, in_order, micro_batches
from tcf.extract.plan.plan import Plan
from tcf.extract.resolved_settings import Settings
from tcf.extract.schedules.engine import Engine, ProgressCallback
from tcf.extract.schedules.load_engine import load_engine
from tcf.extract.sinks import Sink, TokenSink

__all__ = [
    "CPU",
    "LAYERS",
    "TOKENS",
    "WITH_BLOCKS",
    "encoded",
    "engine",
    "largest_file",
    "own_states",
    "read",
    "sequences_of",
    "silent",
]

CPU = torch.device("cpu")
LAYERS = (0, 2, -1)
TOKENS = 64  # at once
WITH_BLOCKS = [name for name, family in FAMILIES.items() if family.blocks]


def silent(texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
    """Nobody is told."""


def sequences_of(path: Path, n: int = 25) -> TokenSequences:
    """Texts of many lengths, as a model reads them."""
    return tokenize(load_tokenizer(open_model_folder(path)), [*TITLES, *made_up_texts(n)], max_tokens=30)


def engine(
    path: Path,
    schedule: str,
    places: Sequence[str],
    *,
    devices: Sequence[str] = ("cpu",),
    states: str = "memory",
    dtype: torch.dtype = torch.float32,
    layers: tuple[int, ...] = LAYERS,
    checkpoint_layers: int | None = None,
    packs: bool = False,
) -> Engine:
    """A model loaded by a schedule, with its blocks in these places."""
    plan = SimpleNamespace(
        schedule=schedule,
        devices=tuple(devices),
        blocks=tuple(places),
        micro_batch_tokens=TOKENS,
        hidden_states=states,
        packs=packs,
    )
    config = ExtractConfig(checkpoint_layers=checkpoint_layers)
    folder = open_model_folder(path)
    return load_engine(folder, layers, config, Settings(("mean",), "", 30, dtype, CPU), cast(Plan, plan))


def encoded(
    loaded: Engine,
    sequences: TokenSequences,
    sinks: Mapping[int, Sequence[Sink]],
    *,
    scratch: Path,
    advance: ProgressCallback = silent,
) -> Indices:
    """Compute texts in groups of equal length; returns them in the order of the micro-batches."""
    batches = micro_batches(sequences.lengths, loaded.tokens_per_batch)
    loaded.encode(batches, sequences, sinks, scratch=scratch, advance=advance)
    return in_order(batches)


def read(
    loaded: Engine, sequences: TokenSequences, scratch: Path, advance: Any = silent, *, width: int = 32
) -> dict[int, Tensor]:
    """The states of all tokens, (nnz, D) a layer, in the order of micro-batches."""
    layers = loaded.encoder.layers
    sinks = {layer: TokenSink(sequences.lengths, width, torch.float32, CPU) for layer in layers}
    encoded(loaded, sequences, {layer: [sink] for layer, sink in sinks.items()}, scratch=scratch, advance=advance)
    return {layer: sink.rows.clone() for layer, sink in sinks.items()}


def own_states(
    name: str, path: Path, sequences: TokenSequences, dtype: torch.dtype = torch.float32
) -> dict[int, Tensor]:
    """The same from transformers' own forward on each of the micro-batches."""
    model = own_model(name, path, dtype)
    for parameter in model.parameters():
        # Sums depend on where in memory their terms lie, and mapped files are not laid out like tensors.
        parameter.data = parameter.data.clone()
    found: dict[int, list[Tensor]] = {layer: [] for layer in LAYERS}
    blocks = cast(Any, model.get_submodule(FAMILIES[name].blocks))
    blocks[0].register_forward_pre_hook(
        lambda _, arguments, named: found[0].append((arguments or [named["hidden_states"]])[0].clone()),
        with_kwargs=True,
    )
    blocks[1].register_forward_hook(lambda _, __, output: found[2].append(_states(output)))
    for batch in (batch for batch in micro_batches(sequences.lengths, TOKENS) if batch.n_states):
        with torch.inference_mode():
            found[-1].append(model(input_ids=torch.from_numpy(batch.tokens(sequences))).last_hidden_state)
    return {layer: torch.cat([s.flatten(0, 1) for s in states]).float() for layer, states in found.items()}


def _states(output: Any) -> Tensor:
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states.clone()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within it, no file can become larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
