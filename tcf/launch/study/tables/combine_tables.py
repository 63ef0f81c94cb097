"""The tables [combine.NAME] of a study file, or of a pipeline file: finished runs that are joined into one ranking."""

import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError, value_words
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.launch.study.tables.content import SeedsOf, StudyCombination, StudySetting
from tcf.launch.study.tables.evaluate_table import check_refit
from tcf.launch.study.tables.grid import Grid, matches, read_match
from tcf.launch.study.tables.section import FileSection, known_words, tables_of

__all__ = ["check_combinations", "read_grid_combinations", "read_run_combinations"]

_EXAMPLE = "[combine.combined]"


def read_run_combinations(path: Path, values: Any, settings: Sequence[StudySetting]) -> tuple[StudyCombination, ...]:
    """Read the tables of a pipeline file, whose `runs` are names of its runs, all of them by default.

    Args:
        path: the file.
        values: the content of [combine].
        settings: the runs, all of one dataset.

    Raises:
        ConfigError: a setting is unknown or of the wrong type, a run is unknown, or there is too little to combine.
    """
    known = {setting.name: setting for setting in settings}
    found = []
    for name, section in tables_of(path, "combine", values, _EXAMPLE).items():
        chosen = section.different("runs")
        for run in chosen or ():
            if run not in known:
                hint = known_words(str(run), [*known]) if known else " (there are no runs)"
                raise ConfigError(f"{section.where} runs: unknown run {value_words(run)}{hint}")
        members = settings if chosen is None else [known[str(run)] for run in chosen]
        dataset = settings[0].dataset if settings else ""
        found.append(_combination(section, name, dataset, members, _Read.of(section)))
    return tuple(found)


def read_grid_combinations(
    path: Path, values: Any, settings: Sequence[StudySetting], grid: Grid
) -> tuple[StudyCombination, ...]:
    """Read the tables of a study file, whose `runs` match settings of the grid, all of them by default.

    Each dataset on which a setting is matched has a combination, of all that are matched on it.

    Args:
        path: the file.
        values: the content of [combine].
        settings: the settings of the grid.
        grid: its axes.

    Raises:
        ConfigError: a setting is unknown or of the wrong type, an entry matches nothing, or there is too little to
            combine.
    """
    found: list[StudyCombination] = []
    for name, section in tables_of(path, "combine", values, _EXAMPLE).items():
        matched = _matched(section, settings, grid)
        read = _Read.of(section)
        for dataset in dict.fromkeys(setting.dataset for setting in settings):
            members = [setting for setting in matched if setting.dataset == dataset]
            if members:
                found.append(_combination(section, f"{dataset}/{name}", dataset, members, read))
    return tuple(found)


def check_combinations(
    path: Path, combinations: Sequence[StudyCombination], settings: Sequence[StudySetting], evaluate: EvaluateConfig
) -> None:
    """Refuse combinations that cannot be told from something else, or cannot be evaluated as the file wants it.

    Args:
        path: the file.
        combinations: the combinations.
        settings: the settings of the file, whose names they must not have.
        evaluate: settings of the evaluations.

    Raises:
        ConfigError: saying which, and what to do.
    """
    configs = {setting.name: setting.config for setting in settings}
    for combination in combinations:
        own = combination.name.rpartition("/")[2]
        where = f"{path}: [combine.{own}]"
        if combination.name in configs or own in typing.get_args(Baseline):
            raise ConfigError(f"{where} expected a name that no run and no baseline has; rename the table")
        if "co-occurrence" in combination.baselines and evaluate.search == "faiss":
            raise ConfigError(
                f'{where} baselines: expected [evaluate] search = "torch", since FAISS cannot add the scores of '
                "co-occurrence, found faiss; remove one of them"
            )
        for member in combination.members:
            check_refit(path, f"[combine] {member}", configs[member], evaluate)
        _check_refits(where, {member: configs[member].refit for member in combination.members})


def _check_refits(where: str, refits: Mapping[str, bool]) -> None:
    """Refuse a part of the members to be refits: weights are fitted on targets that a refit is trained on."""
    if len({*refits.values()}) > 1:
        refit, other = (next(name for name, is_one in refits.items() if is_one is wanted) for wanted in (True, False))
        raise ConfigError(
            f"{where} runs: expected all or none of the runs to be refits, found that {refit} is one and {other} is "
            "not; set refit for all or for none"
        )


class _Read(typing.NamedTuple):
    """What a table says beside its runs."""

    baselines: tuple[CombinedBaseline, ...]
    seeds: SeedsOf
    config: CombineConfig

    @classmethod
    def of(cls, section: FileSection) -> "_Read":
        baselines = section.choices("baselines", typing.get_args(CombinedBaseline))
        if len({*baselines}) < len(baselines):
            raise ConfigError(
                f"{section.where} baselines: expected each once, found {', '.join(baselines)}; leave one out"
            )
        given = section.take("seeds", str) is not None
        seeds: SeedsOf = section.choose("seeds", typing.get_args(SeedsOf)) if given else "each"
        return cls(baselines, seeds, section.rest(CombineConfig))


def _combination(
    section: FileSection, name: str, dataset: str, members: Sequence[StudySetting], read: _Read
) -> StudyCombination:
    """A combination, of two members or more."""
    runs = sum(len(member.trainings()) if read.seeds == "together" else 1 for member in members)
    _check_number(section.where, dataset, runs, read)
    return StudyCombination(
        name, dataset, tuple(member.name for member in members), read.baselines, read.seeds, read.config
    )


def _check_number(where: str, dataset: str, runs: int, read: _Read) -> None:
    """Refuse too few members, and another number of weights, before anything is trained for them."""
    n_members, weights = runs + len(read.baselines), read.config.weights
    if not runs or n_members < 2:
        on = f" on {dataset}" if dataset else ""
        raise ConfigError(
            f"{where} expected a run or more, and two members together with baselines, found runs: {runs}, baselines: "
            f'{len(read.baselines)}{on}; add a run, or baselines = ["co-occurrence"]'
        )
    if weights and len(weights) != n_members:
        raise ConfigError(
            f"{where} weights: expected {n_members}, one for each member on {dataset}, runs first, found "
            f"{len(weights)}; correct them, or leave weights out to have them fitted"
        )


def _matched(section: FileSection, settings: Sequence[StudySetting], grid: Grid) -> list[StudySetting]:
    """The settings that the entries of `runs` match, each once: in the order of entries, then of the grid."""
    entries = section.take("runs", list)
    if entries is None:
        return [*settings]
    if not entries:
        raise ConfigError(
            f"{section.where} runs: expected an entry or more, found none; leave runs out for all, or remove the table"
        )
    return [*{one.name: one for entry in entries for one in _of_entry(section, entry, settings, grid)}.values()]


def _of_entry(section: FileSection, entry: Any, settings: Sequence[StudySetting], grid: Grid) -> Iterator[StudySetting]:
    when = read_match(f"{section.where} runs", entry, grid.axes)
    found = [setting for setting in settings if matches(when, setting.axes)]
    if not found:
        raise ConfigError(
            f"{section.where} runs: expected entries that match a setting of the grid, found {value_words(entry)}, "
            "which matches none; correct or remove it"
        )
    yield from found
