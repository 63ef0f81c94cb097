"""What units do: each task is a stage with its inputs, its settings and what it publishes.

A task does the same as one command line, which `command` returns. Everything a task needs is in it, with absolute
paths, so that it can be sent to a worker process or a job on another machine, as JSON. A stage finds what it has
published before, so that a task can be run again at any time.
"""

import importlib
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tcf.config.evaluate import Baseline, CataloguePolicy, EvaluateConfig, Search, UntrainedUsers
from tcf.config.extract import ExtractConfig
from tcf.config.fields import typed_options
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.train import TrainConfig
from tcf.launch.workers.jobs import Job

__all__ = [
    "CompareTask",
    "ConvertTask",
    "DownloadTask",
    "EvaluateTask",
    "ExtractTask",
    "PrepareTask",
    "RecommendTask",
    "Stage",
    "Task",
    "TrainTask",
    "decode_task",
]

logger = logging.getLogger(__name__)

Stage = Literal["download", "prepare", "convert", "extract", "train", "evaluate", "recommend", "search", "compare"]


class Task(Job):
    """Base of the tasks, which are frozen dataclasses with absolute paths.

    Attributes:
        stage: the stage that it belongs to.
    """

    stage: ClassVar[Stage]

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The directories and files that are there once it is done; none if they are no concern of the caller."""
        raise NotImplementedError

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of the command `tcf` that does the same."""
        raise NotImplementedError

    @property
    def command(self) -> str:
        """The command line that does the same, for a shell."""
        return shlex.join(["tcf", *self.arguments])

    def run(self) -> None:
        """Do it in this process.

        Raises:
            TcfError: any error of the stage.
        """
        raise NotImplementedError

    def as_message(self) -> dict[str, Any]:
        """The task as JSON values."""
        return {"stage": self.stage, **super().as_message()}


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

    def run(self) -> None:
        """See `Task`."""
        from tcf.assets.resolve import fetch_dataset
        from tcf.data.prepare import prepare

        raw = Path(self.raw) if self.raw else fetch_dataset(self.download)
        prepare(self.format, raw, self.out, self.config)


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
    """

    stage: ClassVar[Stage] = "extract"
    data: Path
    model: str
    out: Path
    config: ExtractConfig

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The cache, or those of all layers, which are below `out`."""
        layers, tokens = self.config.pooled_layers, self.config.token_states
        names = [*(f"layer{layer}" for layer in layers), *(() if tokens is None else (f"tokens{tokens}",))]
        return (self.out,) if len(names) == 1 else tuple(self.out / name for name in names)

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


@dataclass(frozen=True)
class TrainTask(Task):
    """A training.

    Attributes:
        data: a dataset directory.
        caches: cache directories for items as text.
        out: the run's directory.
        config: settings.
    """

    stage: ClassVar[Stage] = "train"
    data: Path
    caches: tuple[Path, ...]
    out: Path
    config: TrainConfig

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The run."""
        return (self.out,)

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        caches = [part for cache in self.caches for part in ("--cache", str(cache))]
        return ("train", "--data", str(self.data), *caches, "--out", str(self.out), *typed_options(self.config))

    def run(self) -> None:
        """See `Task`."""
        from tcf.launch.train_on_devices import train_on_devices

        train_on_devices(data=self.data, caches=self.caches, out=self.out, config=self.config)


@dataclass(frozen=True)
class EvaluateTask(Task):
    """The evaluation of a run, or of a baseline.

    Attributes:
        run_folder: the run's directory; None for a baseline.
        baseline: the baseline; empty for a run.
        data: the dataset of the baseline, or of the run if it has moved; None for where the run was trained.
        caches: the run's caches, if they have moved.
        out: directory to create.
        config: settings.
        vectors: a cache for the diversity of lists; None without.
        seed: seed of the random ranking.
    """

    stage: ClassVar[Stage] = "evaluate"
    run_folder: Path | None
    baseline: Baseline | Literal[""]
    data: Path | None
    caches: tuple[Path, ...]
    out: Path
    config: EvaluateConfig
    vectors: Path | None = None
    seed: int = 0

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The evaluation."""
        return (self.out,)

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        what = ("--baseline", self.baseline) if self.run_folder is None else (str(self.run_folder),)
        data = () if self.data is None else ("--data", str(self.data))
        caches = [part for cache in self.caches for part in ("--cache", str(cache))]
        vectors = () if self.vectors is None else ("--vectors", str(self.vectors))
        seed = ("--seed", str(self.seed)) if self.seed else ()
        options = (*data, *caches, *vectors, *seed, *typed_options(self.config))
        return ("evaluate", *what, "--out", str(self.out), *options)

    def run(self) -> None:
        """See `Task`."""
        from tcf.config.typed_values import typed
        from tcf.evaluate.stage import evaluate_baseline, evaluate_run

        if self.run_folder is not None:
            evaluate_run(
                self.run_folder,
                out=self.out,
                config=self.config,
                data=self.data,
                caches=self.caches,
                vectors=self.vectors,
            )
        elif self.data is not None:
            name: Baseline = typed(self.baseline, Baseline, "baseline")
            evaluate_baseline(
                name, data=self.data, out=self.out, config=self.config, seed=self.seed, vectors=self.vectors
            )


@dataclass(frozen=True)
class RecommendTask(Task):
    """The recommendations of a run.

    Attributes:
        run_folder: the run's directory.
        out: the file to write.
        k: number of items for each user.
        users: file of user ids; None for all.
        catalogue: which items; None as the run has it.
        untrained_users: whether users whom the run has never trained get items.
        data: the dataset, if it has moved; None for where the run was trained.
        caches: the caches, if they have moved.
        device: device to compute on.
        search: what computes the scores.
    """

    stage: ClassVar[Stage] = "recommend"
    run_folder: Path
    out: Path
    k: int
    users: Path | None = None
    catalogue: CataloguePolicy | None = None
    untrained_users: UntrainedUsers = "keep"
    data: Path | None = None
    caches: tuple[Path, ...] = ()
    device: str = "auto"
    search: Search = "auto"

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The file."""
        return (self.out,)

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        given = {"--users": self.users, "--catalogue": self.catalogue, "--data": self.data}
        options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        caches = [part for cache in self.caches for part in ("--cache", str(cache))]
        chosen = ("--untrained-users", self.untrained_users, "--device", self.device, "--search", self.search)
        return (
            "recommend",
            str(self.run_folder),
            "--out",
            str(self.out),
            "--k",
            str(self.k),
            *options,
            *caches,
            *chosen,
        )

    def run(self) -> None:
        """See `Task`."""
        from tcf.evaluate.recommend import recommend

        recommend(
            self.run_folder,
            out=self.out,
            k=self.k,
            users=self.users,
            catalogue=self.catalogue,
            untrained_users=self.untrained_users,
            search=self.search,
            data=self.data,
            caches=self.caches,
            device=self.device,
        )


@dataclass(frozen=True)
class CompareTask(Task):
    """The results of a study: means over seeds, comparisons and tables, of what has been evaluated.

    Attributes:
        file: the study's file.
        overrides: entries that replace those of the file, as `KEY=VALUE`.
        out: the study's folder.
        identity: digest of the evaluations, so that others make another task.
    """

    stage: ClassVar[Stage] = "compare"
    file: Path
    overrides: tuple[str, ...]
    out: Path
    identity: str

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The tables."""
        return (self.out / "results.csv", self.out / "results.parquet")

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        return ("study", str(self.file), *(part for entry in self.overrides for part in ("--set", entry)))

    def run(self) -> None:
        """See `Task`."""
        # By name: results are read from a study, which is made of units, which are made of tasks.
        importlib.import_module("tcf.launch.study.results.write_results").write_results(self.file, self.overrides)


_TASKS: tuple[type[Task], ...] = (
    DownloadTask,
    PrepareTask,
    ConvertTask,
    ExtractTask,
    TrainTask,
    EvaluateTask,
    RecommendTask,
    CompareTask,
)


def decode_task(message: Mapping[str, Any]) -> Task:
    """Build a task from its JSON values."""
    [kind] = [task for task in _TASKS if task.stage == message["stage"]]
    return kind.from_message({name: value for name, value in message.items() if name != "stage"})
