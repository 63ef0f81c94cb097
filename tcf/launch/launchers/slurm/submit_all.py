"""Submits all units of a study at once, so that no command has to stay until they have ended.

What a unit needs becomes a dependency of its job on theirs. A dependency that cannot be met any more ends the job that
waits for it, so nothing is left in the queue for ever.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tcf.common.errors import RunError
from tcf.common.units import counted
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.damage import ask_for_repairs
from tcf.launch.launchers.slurm.batches import find_batches, new_batch
from tcf.launch.launchers.slurm.flights import Flight, in_the_queue
from tcf.launch.launchers.slurm.packing import nodes_of, packed, pieces, together
from tcf.launch.launchers.slurm.queue import most_tasks, queued_tasks, require_slurm
from tcf.launch.launchers.slurm.submit import submit
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import run_unit
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit, check_names

__all__ = ["Submission", "submit_all"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """What has become of units that were to be submitted.

    Attributes:
        found: names of those that are done.
        queued: jobs of those that an earlier command has submitted and that have not ended, by name of the unit.
        submitted: jobs of the others, by name of the unit.
    """

    found: tuple[str, ...]
    queued: Mapping[str, str]
    submitted: Mapping[str, str]

    @property
    def jobs(self) -> tuple[str, ...]:
        """The ids of all jobs and arrays, as `scancel` takes them."""
        return tuple(dict.fromkeys(job.split("_")[0] for job in (*self.queued.values(), *self.submitted.values())))


@dataclass(frozen=True)
class _Terms:
    """What the tasks of one array have in common.

    Attributes:
        stage: their stage.
        needs: names of the units that they need and that are not done.
        after_failures: whether they run although some of these have failed.
        rank: how many steps there are before them, at most.
    """

    stage: Stage
    needs: frozenset[str]
    after_failures: bool
    rank: int


@dataclass
class _Plan:
    """Jobs as they are submitted, from those that need nothing to those that need most.

    Attributes:
        launch: settings of all stages.
        records: where records are.
        most: how many tasks an array may have.
        jobs: the job of each unit that has one, by name.
        shared: those of the jobs that run several units.
    """

    launch: Mapping[Stage, LaunchConfig]
    records: Records
    most: int
    jobs: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)

    def submit(self, terms: _Terms, units: Sequence[Unit]) -> None:
        """Submit units that wait for the same jobs."""
        config = self.launch[terms.stage]
        for tasks in pieces(packed(units, config), self.most):
            batch = new_batch(tasks, self.records, config.tries, checks_needs=True)
            batch = submit(batch, config, nodes_of(terms.stage, config), self._dependency(terms))
            for number, task in enumerate(tasks):
                self.jobs.update({unit.name: batch.job_of(number) for unit in task})
                self.shared.update([batch.job_of(number)] if len(task) > 1 else [])
            logger.info(f"{counted(sum(map(len, tasks)), 'unit')} of {terms.stage}: submitted as job {batch.job}")

    def _dependency(self, terms: _Terms) -> str:
        """The jobs to wait for, each once; units that have ended by now are waited for no more.

        A job of several units fails with one of them, and must not take along what needs the others; a task looks
        itself whether what its units need is done.
        """
        jobs = sorted({self.jobs[need] for need in terms.needs})
        any_end = [job for job in jobs if terms.after_failures or job in self.shared]
        kinds = {"afterok": [job for job in jobs if job not in any_end], "afterany": any_end}
        return ",".join(":".join([kind, *of_kind]) for kind, of_kind in kinds.items() if of_kind)


def submit_all(units: Sequence[Unit], launch: Mapping[Stage, LaunchConfig], records: Records) -> Submission:
    """Submit all units that are neither done nor queued already.

    Downloads are made at once, in this process, since nodes may lack the internet.

    Args:
        units: the units; needs before those that need them.
        launch: settings of all stages; those of stages that are set to run on this machine count too.
        records: where records are.

    Raises:
        ConfigError: Slurm's commands are not there, or Slurm refuses the jobs; those submitted before stay, and the
            same call finds them.
        RunError: a download failed, or Slurm does not answer.
    """
    check_names(units)
    require_slurm("--detach")
    for unit in units:
        if unit.stage == "download":
            _download(unit, launch["download"].tries, records)
    records.report_damage(units)
    # The queue first: what has left it by now has its record.
    flights = in_the_queue(find_batches(records), queued_tasks())
    ask_for_repairs(units, records, _queued(units, flights))
    found = tuple(unit.name for unit in units if records.state(unit) == "done")
    missing = [unit for unit in units if unit.name not in found]
    queued = _queued(missing, flights)
    shared = {flight.job for flight in flights if len(flight.keys) > 1}
    plan = _Plan(launch, records, most_tasks(), dict(queued), shared)
    for terms, of_terms in _in_order([unit for unit in missing if unit.name not in queued], found):
        plan.submit(terms, of_terms)
    return Submission(found, queued, {name: job for name, job in plan.jobs.items() if name not in queued})


def _queued(units: Sequence[Unit], flights: Sequence[Flight]) -> dict[str, str]:
    """The jobs of units that wait or run already."""
    return {unit.name: flight.job for unit in units for flight in flights if flight.runs(unit)}


def _in_order(units: Sequence[Unit], done: Sequence[str]) -> list[tuple[_Terms, list[Unit]]]:
    """Units that wait for the same, together, and after all that they wait for."""
    ranks: dict[str, int] = {}
    entries = []
    for unit in units:
        needs = frozenset(unit.needs) - set(done)
        ranks[unit.name] = 1 + max((ranks.get(need, 0) for need in needs), default=0)
        entries.append((_Terms(unit.stage, needs, unit.after_failures, ranks[unit.name]), unit))
    return sorted(together(entries).items(), key=lambda entry: entry[0].rank)


def _download(unit: Unit, tries: int, records: Records) -> None:
    """Run a download here, unless it is done.

    Raises:
        RunError: it failed each time.
    """
    if records.state(unit) == "done":
        return
    logger.info(f"{unit.name}: {unit.task.command}")
    for _ in range(tries):
        end = run_unit(unit, records)
        if end.ended == "done":
            return
    raise RunError(f"{unit.name}: {end.reason}; see {records.log(unit.name)}, and run the same command again")
