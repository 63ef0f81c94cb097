"""Tasks that make datasets, models and caches."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tcf.common.manifest import digest
from tcf.common.output.folders import walk
from tcf.config.extract import ExtractConfig
from tcf.config.fields import typed_options
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.launch.units.results import write_result
from tcf.launch.units.task import Stage, Task

__all__ = ["ConvertTask", "DownloadTask", "ExtractTask", "PrepareTask"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadTask(Task):
    """The download of a named dataset, or of a model, into this machine's folder for downloads.

    Attributes:
        kind: what is downloaded.
        name: its name.
    """

    stage: ClassVar[Stage] = "download"
    kind: Literal["dataset", "model"]
    name: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        """None: where downloads are is up to the machine."""
        return ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`; a model is downloaded by the first command that needs it."""
        return ("data", "download", self.name) if self.kind == "dataset" else ("plan", "--model", self.name)

    def run(self) -> None:
        """See `Task`."""
        if self.kind == "dataset":
            from tcf.assets.resolve import fetch_dataset

            fetch_dataset(self.name)
        else:
            from tcf.encoders.folder.local_model import local_model

            local_model(self.name)


@dataclass(frozen=True)
class PrepareTask(Task):
    """The preparation of a dataset from raw files.

    Attributes:
        format: their format.
        raw: their folder; empty for a named dataset.
        download: name of the dataset; empty for a folder.
        out: dataset directory to create.
        config: settings.
    """

    stage: ClassVar[Stage] = "prepare"
    format: RawFormat
    raw: str
    download: str
    out: Path
    config: PrepareConfig

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The dataset."""
        return (self.out,)

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        raw = self.raw or f"$(tcf data download {self.download})"
        return ("data", "prepare", self.format, raw, "--out", str(self.out), *typed_options(self.config))

    @property
    def stamp(self) -> str:
        """Names, sizes and times of the raw files; the stage itself compares their content."""
        if not self.raw:
            return ""
        places = [folder / name for folder, _, names in walk(Path(self.raw)) for name in names]
        found = [(str(place.relative_to(self.raw)), *_size_and_time(place)) for place in places]
        return digest(found)

    def run(self) -> None:
        """See `Task`."""
        from tcf.assets.resolve import fetch_dataset
        from tcf.data.prepare import prepare

        raw = Path(self.raw) if self.raw else fetch_dataset(self.download)
        prepare(self.format, raw, self.out, self.config)


def _size_and_time(file: Path) -> tuple[int, int]:
    """Size, and the time of the last change in nanoseconds; zeros if the file has gone."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class ConvertTask(Task):
    """The conversion of raw weights to a model folder.

    Attributes:
        source: a GGUF file, or a folder of raw weights.
        out: model folder to create.
        tokenizer: folder with the tokenizer of raw weights; None if it is beside them.
    """

    stage: ClassVar[Stage] = "convert"
    source: Path
    out: Path
    tokenizer: Path | None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The model folder."""
        return (self.out,)

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        tokenizer = () if self.tokenizer is None else ("--tokenizer", str(self.tokenizer))
        return ("convert", str(self.source), "--out", str(self.out), *tokenizer)

    def run(self) -> None:
        """See `Task`."""
        from tcf.encoders.convert.convert import convert

        convert(self.source, self.out, tokenizer=self.tokenizer)


@dataclass(frozen=True)
class ExtractTask(Task):
    """The extraction of a dataset's vectors into a cache, or of a part of its shards.

    Attributes:
        data: a dataset directory.
        model: a named model, a hub id, or an absolute path.
        out: the cache, or the folder of the caches of several layers.
        config: settings; `shards` says which part.
        result: file for a summary, for the command that has asked for it; None for none.
    """

    stage: ClassVar[Stage] = "extract"
    data: Path
    model: str
    out: Path
    config: ExtractConfig
    result: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The cache, or those of all layers, which are below `out`; and the result, if it is to be written."""
        layers, tokens = self.config.pooled_layers, self.config.token_states
        names = [*(f"layer{layer}" for layer in layers), *(() if tokens is None else (f"tokens{tokens}",))]
        caches = (self.out,) if len(names) == 1 else tuple(self.out / name for name in names)
        return (*caches, *(() if self.result is None else (self.result,)))

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        paths = ("--data", str(self.data), "--model", self.model, "--out", str(self.out))
        return ("extract", *paths, *typed_options(self.config))

    def run(self) -> None:
        """See `Task`."""
        from tcf.encoders.folder.local_model import local_model
        from tcf.launch.extract_on_devices import extract_on_devices

        model = local_model(self.model)
        done = extract_on_devices(data=self.data, model=model, name=self.model, out=self.out, config=self.config)
        logger.info(done.summary())
        if self.result is not None:
            values = {**asdict(done), "caches": [*map(str, done.caches)], "parquet": [*map(str, done.parquet)]}
            write_result(self.result, values)
