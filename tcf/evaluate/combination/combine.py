"""The stage that combines finished runs and baselines: checks, weights, and the directory that holds them."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import RunError
from tcf.common.files import check_destination, check_early, is_published, publish_file, publishing, refuse_occupied
from tcf.common.manifest import differences, digest, seal
from tcf.common.output.folders import real_path
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.fields import to_mapping, write_toml
from tcf.config.sealed_toml import sealed_toml
from tcf.evaluate.combination.chosen_members import ChosenMembers, choose_members
from tcf.evaluate.combination.combined_run import CombinedRun, opened_combination
from tcf.evaluate.combination.members import Member
from tcf.evaluate.combination.recorded_combination import (
    BASELINES,
    COMBINATION,
    CONFIG,
    MEMBERS,
    NAMES,
    RUNS,
    RecordedCombination,
    member_role,
    read_stored,
)
from tcf.evaluate.combination.weigh import Weighed, weigh
from tcf.train.run.open_inputs import OpenInputs

__all__ = ["combine"]

logger = logging.getLogger(__name__)

_DECIDE_NOTHING = ("device", "verify")


def combine(
    runs: Sequence[Path],
    *,
    out: Path,
    config: CombineConfig,
    baselines: Sequence[CombinedBaseline] = (),
    names: Sequence[str | None] | None = None,
    data: Path | None = None,
    caches: Sequence[Path] = (),
) -> CombinedRun:
    """Combine finished runs and baselines; if `out` already holds this combination, it is opened as it is.

    Nothing is trained. The weights are found on validation targets alone; those of refits, which were trained on
    validation targets, on the runs that chose their numbers of epochs.

    Args:
        runs: the runs' directories, at least one.
        out: directory to create.
        config: settings.
        baselines: baselines that are members too, after the runs.
        names: a name for each run; None, also for a single one: the name of its folder, made distinct.
        data: the dataset, if it has moved since the training.
        caches: the runs' caches, if they have moved, run by run, in the order of training.

    Raises:
        ConfigError: there are fewer than two members, a name or a baseline is there twice, there are not as many
            weights as members, some runs are refits and others are not, or runs are of different datasets.
        RunError: a run is unfinished, damaged or a combination itself, its dataset or caches have changed, or `out`
            holds something else.
        DataError: no user has a validation target and an item before it.
    """
    check_early(out)
    chosen = choose_members(runs, baselines, names, config, data=data, caches=caches)
    plan = _Plan(out, chosen, config)
    inputs = OpenInputs(config.verify)
    if is_published(out):
        existing = opened_combination(plan.existing(), inputs, config.device)
        logger.info(f"{out}: already combined with these settings and inputs; nothing to do")
        return existing
    refuse_occupied(out)
    check_destination(out)
    judged = [inputs.run(run, config.device) for run in chosen.judged()]
    plan.publish(weigh(chosen.kinds, judged, config))
    found = opened_combination(plan.existing(), inputs, config.device)
    logger.info(f"{out}: {found.words}")
    return found


@dataclass(frozen=True)
class _Plan:
    """What is combined, and where.

    Attributes:
        out: the directory.
        chosen: the members.
        config: settings.
    """

    out: Path
    chosen: ChosenMembers
    config: CombineConfig

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that decide the result."""
        given = {name: value for name, value in to_mapping(self.config).items() if name not in _DECIDE_NOTHING}
        return {**given, NAMES: [*self.chosen.run_names], BASELINES: [*self.chosen.baselines]}

    @property
    def inputs(self) -> dict[str, str]:
        """The fingerprints of the dataset and of each run."""
        runs = zip(self.chosen.run_names, self.chosen.runs, strict=True)
        of_runs = {member_role(name): run.manifest.fingerprint for name, run in runs}
        return {"dataset": self.chosen.dataset, **of_runs}

    def existing(self) -> RecordedCombination:
        """Read the combination that is there.

        Raises:
            RunError: it is of other settings or inputs, or is something else.
        """
        found = read_stored(self.out)
        stored = {**found.manifest.config, **found.manifest.inputs}
        differing = differences(stored, {**self.settings, **self.inputs})
        if differing:
            raise RunError(
                f"{self.out}: expected a combination of these inputs and settings, found another ({differing}); remove "
                "it, or name another --out"
            )
        return found.of_runs(self.chosen.runs)

    def publish(self, weighed: Weighed) -> None:
        """Write the directory."""
        rows = zip(self.chosen.names, self.chosen.kinds, weighed.weights, weighed.of_members, strict=True)
        facts: Mapping[str, Any] = {
            MEMBERS: [Member(*row).as_json() for row in rows],
            **weighed.metrics,
            "users": weighed.users,
            "fitted_targets": weighed.fitted,
        }
        identity = digest({"config": self.settings, "inputs": self.inputs, "weights": list(weighed.weights)})
        with publishing(self.out) as staging:
            settings = {**self.settings, RUNS: self._places()}
            publish_file(staging / CONFIG, sealed_toml(write_toml(settings)))
            seal(staging, COMBINATION, inputs=self.inputs, config=self.settings, facts=facts, identity=identity)

    def _places(self) -> dict[str, str]:
        """The runs' paths relative to the directory, by name."""
        here = real_path(self.out)
        runs = zip(self.chosen.run_names, self.chosen.runs, strict=True)
        return {name: os.path.relpath(real_path(run.path), here) for name, run in runs}
