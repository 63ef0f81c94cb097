"""Settings of `tcf extract` and `tcf plan`."""

import re
from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import CheckedSettings, option

__all__ = ["ExtractConfig", "Pooling"]

Pooling = Literal["mean", "first", "last"]
"""How the states of a text's tokens are combined into one vector."""


@dataclass(frozen=True)
class ExtractConfig(CheckedSettings):
    """Settings of encoding texts with a language model."""

    layers: tuple[int, ...] = option(
        (),
        "Layers to take vectors from, with commas between them: 0 what enters the first block, i what leaves block i, "
        "-1 after the final norm. Several make a cache each, in folders below --out. -1 if not given.",
    )
    token_states: int | None = option(
        None,
        "Keep the states of every token at this layer, for tuning those above; beside vectors if --layers is given.",
    )
    pooling: Literal["auto", Pooling] = option(
        "auto",
        "How a text's token states become one vector; auto: mean for decoders and sentence encoders, first for BERT.",
    )
    prefix: str = option(
        "", "Text to put before every item's, such as an instruction that the encoder was trained with."
    )
    max_tokens: int = option(
        30, "Tokens of a text to read at most, special tokens included; the rest is cut off.", minimum=2
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "Type to compute in; auto: float32 on CPU, on CUDA the checkpoint's 16-bit type or bfloat16."
    )
    storage: Literal["float16", "float32"] = option("float16", "Type to store vectors in.")
    token_storage: Literal["float16", "bfloat16", "float32"] = option("float16", "Type to store token states in.")
    project_out: bool = option(False, "Take the last layer of OPT-350M after its projection from width 1024 to 512.")
    parquet: bool = option(
        False, "Also write the dataset's vectors to CACHE.parquet beside each cache, replaced if it is there."
    )
    shard_rows: int | None = option(
        None,
        "Vectors in a shard; shards are saved one by one, so an interruption loses two at most. 8192 on CPU, 65536 on "
        "CUDA if not given.",
        minimum=1,
    )
    tokens_per_batch: int | None = option(
        None, "Tokens in one call of the model; found by a short trial if not given.", minimum=1
    )
    compile: bool = option(False, "Compile the model's blocks with torch.compile; meant for long runs on CUDA.")
    trust_remote_code: bool = option(False, "Run the Python code that comes with the model's folder.")
    devices: str = option(
        "auto",
        "Devices to compute on, with commas between them: cpu, cuda, cuda:0,cuda:1, ... auto: every CUDA device of "
        "this machine, else cpu.",
    )
    schedule: Literal["auto", "resident", "pipeline", "sweep", "dispatch"] = option(
        "auto",
        "resident: the whole model on each device; pipeline: layer ranges laid over the devices; sweep: one layer "
        "after the other, read once for many texts; dispatch: accelerate's own. auto: the first of the first three "
        "that fits.",
    )
    max_memory: str | None = option(
        None,
        "Most memory to use, such as gpu=60GiB,cpu=200GiB: by gpu, cpu, disk or the name of a device; cpu is what the "
        "whole process takes.",
    )
    checkpoint_layers: int | None = option(
        None, "Within a sweep, save hidden states every so many blocks, so that a restart goes on there.", minimum=1
    )
    shards: str | None = option(
        None,
        "Compute one part of the shards alone, i/n with 0 <= i < n: every n-th from the i-th on. For jobs of an "
        "outside scheduler, which fill one cache together.",
    )

    def __post_init__(self) -> None:
        """Check the settings that depend on one another.

        Raises:
            ConfigError: a value is out of range, a layer is given twice, or settings contradict one another.
        """
        super().__post_init__()
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"--layers: expected each layer once, found {','.join(map(str, self.layers))}")
        if self.parquet and not self.pooled_layers:
            raise ConfigError("--parquet: expected --layers as well, because token states have no vectors to write")
        if self.shard_slice is not None and self.parquet:
            raise ConfigError(
                "--parquet: expected no --shards, because one part of the shards does not have all vectors; run "
                "`tcf cache export` when all parts are done"
            )

    @property
    def shard_slice(self) -> tuple[int, int] | None:
        """`shards` as two numbers, i and n; None for all shards.

        Raises:
            ConfigError: `shards` has another form.
        """
        if self.shards is None:
            return None
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.shards)
        part, parts = map(int, found.groups()) if found else (0, 0)
        if not part < parts:
            raise ConfigError(f"--shards: expected i/n with 0 <= i < n, such as 0/4, found {self.shards!r}")
        return part, parts

    @property
    def pooled_layers(self) -> tuple[int, ...]:
        """The layers to take vectors from: the last one if neither layers nor token states are given."""
        return self.layers or (() if self.token_states is not None else (-1,))
