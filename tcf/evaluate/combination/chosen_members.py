"""The members that a combination is asked for, checked against one another before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import ConfigError, RunError
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.evaluate.combination.find_runs import RunReader
from tcf.evaluate.combination.member_names import distinct_names
from tcf.evaluate.combination.members import MemberKind
from tcf.evaluate.combination.recorded_combination import is_combination
from tcf.train.run.recorded_run import RecordedRun

__all__ = ["ChosenMembers", "choose_members"]


@dataclass(frozen=True)
class ChosenMembers:
    """Runs and baselines that can be combined.

    Attributes:
        runs: the runs, all of one dataset.
        run_names: a name for each run.
        baselines: further members.
        reader: what has read the runs.
    """

    runs: tuple[RecordedRun, ...]
    run_names: tuple[str, ...]
    baselines: tuple[CombinedBaseline, ...]
    reader: RunReader

    def judged(self) -> list[RecordedRun]:
        """Read the runs that validation targets judge: the same, or those that chose the numbers of epochs of refits.

        Raises:
            RunError: such a run is missing or damaged.
        """
        return [self.reader.read_selection(run) if run.config.refit else run for run in self.runs]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all members."""
        return (*self.run_names, *self.baselines)

    @property
    def kinds(self) -> tuple[MemberKind, ...]:
        """The kinds of all members."""
        kinds: list[MemberKind] = ["run" for _ in self.runs]
        return (*kinds, *self.baselines)

    @property
    def dataset(self) -> str:
        """The fingerprint of the dataset of all."""
        return _dataset_of(self.runs[0])


def choose_members(
    runs: Sequence[Path],
    baselines: Sequence[CombinedBaseline],
    names: Sequence[str | None] | None,
    config: CombineConfig,
    *,
    data: Path | None = None,
    caches: Sequence[Path] = (),
) -> ChosenMembers:
    """Read what the runs' directories say, and check that they can be combined.

    Args:
        runs: see `combine`.
        baselines: see `combine`.
        names: see `combine`.
        config: settings.
        data: see `combine`.
        caches: see `combine`.

    Raises:
        ConfigError: see `combine`.
        RunError: a run is unfinished, damaged or a combination itself.
    """
    _check_number(runs, baselines, config)
    named = distinct_names(runs, names, baselines)
    for path in runs:
        if is_combination(path):
            raise RunError(
                f"{path}: expected a run from `tcf train`, found a combination, which cannot be a member of another; "
                "name its members in its place"
            )
    reader = RunReader(data, caches)
    recorded = tuple(reader.read(path) for path in runs)
    reader.check_all_taken()
    _check_alike(recorded)
    return ChosenMembers(recorded, named, tuple(baselines), reader)


def _check_number(runs: Sequence[Path], baselines: Sequence[CombinedBaseline], config: CombineConfig) -> None:
    """Refuse too few members, a baseline that is there twice, and another number of weights."""
    n_members = len(runs) + len(baselines)
    if not runs or n_members < 2:
        raise ConfigError(
            f"expected at least one run, and two members together with baselines, found runs: {len(runs)}, baselines: "
            f"{len(baselines)}; name more runs, or add --baseline co-occurrence"
        )
    if len({*baselines}) < len(baselines):
        raise ConfigError(f"--baseline: expected each baseline once, found {', '.join(baselines)}; leave one out")
    if config.weights and len(config.weights) != n_members:
        raise ConfigError(
            f"--weights: expected {n_members} numbers, one for each member, runs first, found {len(config.weights)}; "
            "correct them, or leave them out to have them fitted"
        )


def _check_alike(runs: Sequence[RecordedRun]) -> None:
    """Refuse runs of different datasets, and refits beside runs that were not trained on validation targets."""
    first = runs[0]
    for run in runs[1:]:
        if _dataset_of(run) != _dataset_of(first):
            raise ConfigError(
                f"{run.path}: expected a run of the dataset of {first.path} (fingerprint {_dataset_of(first)[:12]}), "
                f"found one of another ({_dataset_of(run)[:12]}); combine runs of one dataset"
            )
        if run.config.refit != first.config.refit:
            refit, other = (run, first) if run.config.refit else (first, run)
            raise ConfigError(
                f"{refit.path}: expected runs that are all refits, or none, found a refit beside {other.path}, which "
                "was not trained on validation targets; combine runs of one kind, for example the folder selection "
                "of the refit"
            )


def _dataset_of(run: RecordedRun) -> str:
    return run.manifest.inputs["dataset"]
