"""One frozen dataclass a stage: its settings, their defaults and their help texts.

The command line takes its options from the same dataclasses (`tcf.commands.options`), so a setting is described once.
"""

import re
from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.config.fields import Checked, option

__all__ = ["Baseline", "Device", "EvaluateConfig", "ExtractConfig", "PrepareConfig"]

Baseline = Literal["popularity", "random", "co-occurrence"]
Device = str


@dataclass(frozen=True)
class PrepareConfig(Checked):
    """How raw files become a dataset (study, section on datasets)."""

    min_history: int = option(5, "Drop users with fewer interactions than this.", minimum=3)
    max_history: int | None = option(
        None, "Drop users with more interactions than this; none are dropped if not given.", minimum=3
    )
    min_item_count: int | None = option(
        None,
        "Warm subset: remove items with fewer interactions than this, with the users whose history is then too short, "
        "until there are none; counted on what is kept in the end.",
        minimum=1,
    )
    keep_last: int = option(23, "Keep this many of a user's latest interactions.", minimum=3)
    sample_users: int | None = option(None, "Keep a random sample of this many users; all if not given.", minimum=1)
    seed: int = option(0, "Seed of the sample of users.", minimum=0)
    split: Literal["leave-one-out", "time"] = option(
        "leave-one-out",
        "leave-one-out: each user's last item is the test target, the one before it the validation target. time: what "
        "is before the validation period is for training, and a user's first item in a period is the target.",
    )
    test_from: str | None = option(
        None,
        "With --split time, where the test period begins: a date such as 2020-09-16 (UTC), a fraction of all "
        "interactions such as 0.9, or a whole number in the unit of the log's times.",
    )
    validation_from: str | None = option(
        None,
        "With --split time, where the validation period begins, likewise; if not given, as long a period before the "
        "test period, or as large a fraction.",
    )
    text_columns: tuple[str, ...] = option(
        (), "Columns of the item file that make up the text, joined by a space; repeat for several."
    )
    template: str | None = option(
        None,
        "How columns of the item file make up the text, for instance '{title}. {category}'; what a row lacks is left "
        "out with the text after it. Not with --text-columns.",
    )
    min_rating: float | None = option(
        None, "Leave out ratings below this; all count if not given (movielens and amazon)."
    )
    collapse_repeats: bool = option(
        False, "Keep one event where a customer bought an article several times on one day (hm only)."
    )
    events: str | None = option(
        None, "File of the events, below RAW: CSV or other text, Parquet or JSON lines (table only)."
    )
    items: str | None = option(None, "File of the items, below RAW; the file of the events if not given (table only).")
    user_column: str | None = option(None, "Column of the events with user ids (table only).")
    item_column: str | None = option(None, "Column of the events with item ids (table only).")
    time_column: str | None = option(
        None, "Column of the events with numbers or dates to order by; the file's order if not given (table only)."
    )
    item_id_column: str | None = option(
        None, "Column of the items with their ids; named as --item-column if not given (table only)."
    )
    delimiter: str | None = option(
        None, "What stands between the fields of text files: a comma, or a tab in .tsv, if not given (table only)."
    )
    drop: tuple[str, ...] = option(
        (),
        "Leave rows out by the value of a column, such as 'InvoiceNo=C*' (* is anything, ? one character); repeat for "
        "several (table only).",
    )
    bad_rows: Literal["error", "skip"] = option(
        "error", "What to do with a row that cannot be used: stop and name its line, or skip and count it."
    )

    def __post_init__(self) -> None:
        """Check the settings that depend on one another.

        Raises:
            ConfigError: a value is out of range, or the text is asked for in two ways.
        """
        super().__post_init__()
        if self.text_columns and self.template is not None:
            raise ConfigError("--template: expected either this or --text-columns, found both; leave one out")
        self._check_split()
        if self.max_history is not None and self.max_history < self.min_history:
            raise ConfigError(
                f"--max-history: expected at least --min-history ({self.min_history}), found {self.max_history}"
            )

    def _check_split(self) -> None:
        if self.split == "time" and self.test_from is None:
            raise ConfigError("--split: expected --test-from beside time, found none; say where the test period begins")
        for name, value in (("--test-from", self.test_from), ("--validation-from", self.validation_from)):
            if self.split != "time" and value is not None:
                raise ConfigError(f"{name}: expected --split time beside it, found {self.split}; leave one of them out")


@dataclass(frozen=True)
class ExtractConfig(Checked):
    """How a language model turns texts into vectors."""

    layers: tuple[int, ...] = option(
        (),
        "Layers to take vectors from, with commas between them: 0 what enters the first block, i what leaves block i, "
        "-1 after the final norm. Several make a cache each, in folders below --out. -1 if not given.",
    )
    token_states: int | None = option(
        None,
        "Keep the states of every token at this layer, for tuning those above; beside vectors if --layers is given.",
    )
    pooling: Literal["auto", "mean", "first", "last"] = option(
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
            ConfigError: a value is out of range, a layer is asked for twice, or what is asked for does not go together.
        """
        super().__post_init__()
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"--layers: expected each layer once, found {','.join(map(str, self.layers))}")
        if self.parquet and not self.pooled_layers:
            raise ConfigError("--parquet: expected --layers beside it, because token states have no vectors to write")
        if self.shard_slice is not None and self.parquet:
            raise ConfigError(
                "--parquet: expected without --shards, because one part alone has not all vectors to write; "
                "run `tcf cache export` when all parts are done"
            )

    @property
    def shard_slice(self) -> tuple[int, int] | None:
        """`shards` as two numbers, i and n; None for all of them.

        Raises:
            ConfigError: it is something else.
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
        """The layers to take vectors from: the last one if nothing else is asked for."""
        return self.layers or (() if self.token_states is not None else (-1,))


@dataclass(frozen=True)
class EvaluateConfig(Checked):
    """How a run's rankings are judged."""

    split: Literal["test", "validation"] = option(
        "test", "Which held-out item to rank: the test target or the validation target of the dataset's split."
    )
    seen: Literal["keep", "mask"] = option(
        "keep",
        "A held-out item that the user has met before: keep it as a candidate, or mask it as the study's code did.",
    )
    device: Device = option("auto", "Device to compute user states on: auto, cpu, cuda, ...")
