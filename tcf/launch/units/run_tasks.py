"""Tasks that make runs, and what follows from a run or a combination."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tcf.common.integrity.checksums import Verify
from tcf.config.evaluate import Baseline, CataloguePolicy, EvaluateConfig, Search, UntrainedUsers
from tcf.config.fields import typed_options
from tcf.config.train import TrainConfig
from tcf.launch.units.results import write_result
from tcf.launch.units.task import Stage, Task

__all__ = ["EvaluateTask", "RecommendTask", "TrainTask"]


@dataclass(frozen=True)
class TrainTask(Task):
    """A training.

    Attributes:
        data: a dataset directory.
        caches: cache directories for items as text, or the one that ids start from.
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
        option = "--init-from" if self.config.id_init == "text" else "--cache"
        caches = [part for cache in self.caches for part in (option, str(cache))]
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
        verify: whether large files that the machine has verified are verified again.
        result: file for a summary, for the command that has asked for it; None for none.
        shares: whether to tell how each member of a combination shares in a score.
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
    verify: Verify = "once"
    result: Path | None = None
    shares: bool = False

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The file; and the result, if it is to be written."""
        return (self.out, *(() if self.result is None else (self.result,)))

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        given = {"--users": self.users, "--catalogue": self.catalogue, "--data": self.data}
        options = [part for name, value in given.items() if value is not None for part in (name, str(value))]
        caches = [part for cache in self.caches for part in ("--cache", str(cache))]
        chosen = ("--untrained-users", self.untrained_users, "--device", self.device, "--search", self.search)
        verify = () if self.verify == "once" else ("--verify", self.verify)
        shares = ("--shares",) if self.shares else ()
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
            *shares,
            *verify,
        )

    def run(self) -> None:
        """See `Task`."""
        from tcf.evaluate.finished_run import open_finished_run
        from tcf.evaluate.recommend import recommend

        run = open_finished_run(
            self.run_folder, data=self.data, caches=self.caches, device=self.device, verify=self.verify
        )
        done = recommend(
            run,
            out=self.out,
            k=self.k,
            users=self.users,
            catalogue=self.catalogue,
            untrained_users=self.untrained_users,
            search=self.search,
            shares=self.shares,
        )
        if self.result is not None:
            write_result(self.result, done.as_json())
