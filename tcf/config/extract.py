"""Settings of `tcf extract` and `tcf plan`."""

import re
from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.verify import VERIFY_HELP

__all__ = ["REPAIR", "ExtractConfig", "Pooling"]

REPAIR = "run `tcf extract` again with --repair"
"""What messages about a damaged cache say to do, by which a command that runs many stages knows them."""

_TEXTS = "Texts and vectors"
_MEMORY = "Models larger than memory"
_RUNNING = "Running"
Pooling = Literal["mean", "first", "last", "max", "mean_sqrt_len", "weighted_mean"]
"""How the states of a text's tokens are combined into one vector."""


@dataclass(frozen=True, repr=False)
class ExtractConfig(CheckedSettings):
    """Settings for encoding texts with a language model.

    Example:
        >>> import tcf
        >>> tcf.ExtractConfig(layers=[0, -1], devices='cpu')
        ExtractConfig(layers=(0, -1), devices='cpu')
    """

    layers: tuple[int, ...] = option(
        (),
        "Layers to take vectors from, separated by commas: 0 is the input of the first block, i the output of block i, "
        "-1 the output of the final norm. Several make one cache each, in subfolders of --out. Default: -1.",
        group=MAIN_OPTIONS,
        metavar="LAYERS",
    )
    token_states: int | None = option(
        None,
        "Store the states of all tokens at this layer, for tuning the layers above it; vectors are stored too only if "
        "--layers is given.",
        group=_TEXTS,
        metavar="LAYER",
    )
    pooling: Literal["auto", Pooling] = option(
        "auto",
        "How token states become one vector. auto: as a sentence encoder's folder says, mean for decoders, first for "
        "BERT.",
        group=MAIN_OPTIONS,
    )
    prefix: str | None = option(
        None,
        "Text to put before each item's text, such as an instruction that the encoder was trained with. Default: the "
        "default prompt of a sentence encoder's folder, or none.",
        group=_TEXTS,
    )
    prompt: str | None = option(
        None,
        "Name of a prompt of the sentence encoder's folder to put before each item's text.",
        group=_TEXTS,
        metavar="NAME",
    )
    max_tokens: int = option(
        30,
        "Maximum number of tokens of a text, special tokens included; the rest is cut off. A sentence encoder's own "
        "limit holds if it is smaller.",
        group=MAIN_OPTIONS,
        minimum=2,
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto",
        "Type to compute in. auto: float32 on the CPU; on CUDA the checkpoint's 16-bit type, or bfloat16.",
        group=MAIN_OPTIONS,
    )
    storage: Literal["float16", "float32"] = option("float16", "Type to store vectors in.", group=_TEXTS)
    token_storage: Literal["float16", "bfloat16", "float32"] = option(
        "float16", "Type to store token states in.", group=_TEXTS
    )
    project_out: bool = option(
        False,
        "Take the last layer of OPT-350M after its projection from width 1024 to 512.",
        group=_TEXTS,
    )
    parquet: bool = option(
        False,
        "Also write the dataset's vectors to CACHE.parquet beside each cache, replacing an existing file.",
        group=_TEXTS,
    )
    shard_rows: int | None = option(
        None,
        "Vectors in a shard. Shards are saved one by one, and an interruption loses two at most. Default: 8192 on the "
        "CPU, 65536 on CUDA.",
        group=_RUNNING,
        minimum=1,
    )
    tokens_per_batch: int | None = option(
        None,
        "Tokens in one call of the model; default: found by a short calibration run.",
        group=_RUNNING,
        minimum=1,
    )
    share_prefixes: bool = option(
        True,
        "Compute the states of texts that begin alike once for their common beginning; only causal models allow it.",
        group=_RUNNING,
    )
    compile: bool = option(
        False, "Compile the model's blocks with torch.compile; for long runs on CUDA.", group=_RUNNING
    )
    trust_remote_code: bool = option(False, "Run the Python code that comes with the model.", group=_RUNNING)
    devices: str = option(
        "auto",
        "Devices to compute on, separated by commas: cpu, cuda, cuda:0,cuda:1, ... auto: all CUDA devices, or the CPU "
        "if there are none.",
        group=MAIN_OPTIONS,
        metavar="DEVICES",
    )
    schedule: Literal["auto", "resident", "pipeline", "sweep", "dispatch"] = option(
        "auto",
        "Placement of the weights: the whole model on each device (resident), its layers distributed over the devices "
        "(pipeline), one layer after the other for many texts (sweep), or accelerate's offloading (dispatch). auto: "
        "the first of the first three that fits.",
        group=_MEMORY,
    )
    max_memory: str | None = option(
        None,
        "Memory limits, such as gpu=60GiB,cpu=200GiB: by gpu, cpu, disk or the name of a device. cpu limits the whole "
        "process.",
        group=_MEMORY,
        metavar="LIMITS",
    )
    checkpoint_layers: int | None = option(
        None,
        "Save hidden states every so many blocks of a sweep, from which an interrupted one resumes.",
        group=_MEMORY,
        minimum=1,
    )
    shards: str | None = option(
        None,
        "Compute only the I-th of N parts of the shards, 0 <= I < N, for jobs of a cluster scheduler that fill one "
        "cache together.",
        group=_RUNNING,
        metavar="I/N",
    )
    repair: bool = option(
        False,
        "Read all of the cache, drop damaged shards and text maps, and compute their texts again.",
        group=_RUNNING,
    )
    verify: Verify = option("once", VERIFY_HELP, group=_RUNNING)

    def __post_init__(self) -> None:
        """Check the settings that depend on one another.

        Raises:
            ConfigError: a value is out of range, a layer is given twice, or settings contradict one another.
        """
        super().__post_init__()
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"--layers: expected each layer once, found {','.join(map(str, self.layers))}")
        if self.prefix is not None and self.prompt is not None:
            raise ConfigError("--prompt: expected no --prefix as well, because both put a text first; pass one of them")
        if self.parquet and not self.pooled_layers:
            raise ConfigError("--parquet: expected --layers as well, because token states have no vectors to write")
        if self.shard_slice is not None and self.parquet:
            raise ConfigError(
                "--parquet: expected no --shards, because one part of the shards does not have all vectors; run "
                "`tcf cache export` when all parts are done"
            )

        if self.shard_slice is not None and self.repair:
            raise ConfigError(
                "--repair: expected no --shards, because the jobs would drop the shards of one another; run one job "
                "with --repair and without --shards first"
            )

    @property
    def shard_slice(self) -> tuple[int, int] | None:
        """`shards` as two numbers, I and N; None for all shards.

        Raises:
            ConfigError: `shards` has another form.
        """
        if self.shards is None:
            return None
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.shards)
        part, parts = map(int, found.groups()) if found else (0, 0)
        if not part < parts:
            raise ConfigError(f"--shards: expected I/N with 0 <= I < N, such as 0/4, found {self.shards!r}")
        return part, parts

    @property
    def pooled_layers(self) -> tuple[int, ...]:
        """The layers to take vectors from: the last one if neither layers nor token states are given."""
        return self.layers or (() if self.token_states is not None else (-1,))
