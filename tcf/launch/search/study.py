"""A search's Optuna study: the journal on disk, the sampler, the pruner."""

import zlib
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tcf.common.errors import RunError
from tcf.common.files import writing
from tcf.common.manifest import differences
from tcf.common.random_streams import RandomStream, derived_seed, generator
from tcf.launch.search.journal import open_journal
from tcf.launch.search.optuna_internals import running_trial
from tcf.launch.search.search_file import SearchConfig, SearchFile
from tcf.launch.search.space import Choices, Range, combinations

__all__ = ["JOURNAL", "find_duplicate", "open_study", "suggest", "unfinished_trials"]

JOURNAL = "study.jsonl"
_NAME = "search"
_MADE_FROM = "made_from"
_MONITOR = "[train] monitor"
# Searches begun before the setting existed compared trials by one metric and chose their epochs by the other, which no
# setting does any more.
_EARLIER_MONITOR = "ndcg@10 of the epoch with the best hr@10"


def open_study(search: SearchFile, fingerprints: Mapping[str, str]) -> Study:
    """Open the study of a search, or create it; no other process may have it open.

    Args:
        search: the search.
        fingerprints: fingerprints of dataset and caches, by role.

    Raises:
        RunError: the study was begun with other settings or inputs, or its journal is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = search.out / JOURNAL
    with writing(journal):
        storage = open_journal(journal)
    study = optuna.create_study(
        study_name=_NAME,
        storage=storage,
        direction="maximize",
        sampler=_Sampler(search.config, search.space),
        pruner=_pruner(search.config),
        load_if_exists=True,
    )
    _check_unchanged(search, study, {**_defining_settings(search), **fingerprints})
    return study


def suggest(trial: Trial, space: Mapping[str, Range]) -> dict[str, Any]:
    """A trial's parameters; those already suggested stay as they are."""
    return {name: _suggest(trial, name, span) for name, span in space.items()}


def unfinished_trials(study: Study) -> list[Trial]:
    """The trials that were running when an earlier process ended, oldest first."""
    return [running_trial(study, trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]


def find_duplicate(study: Study, trial: Trial, search: SearchFile) -> FrozenTrial | None:
    """An ended trial with the same parameters, but for those that nothing reads, whose result would be the same.

    Args:
        study: the trials.
        trial: one of them.
        search: the search, which knows what is read.

    Returns:
        The earliest one; None if there is none.
    """
    own = search.read(trial.params)
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if other.number != trial.number and search.read(other.params) == own:
            return other
    return None


class _Sampler(BaseSampler):
    """Samples each trial's parameters from the search's seed, the trial's number and the ended trials.

    It has no state, so a search that is resumed samples what it would have sampled without the interruption.
    """

    def __init__(self, config: SearchConfig, space: Mapping[str, Range]) -> None:
        self._config = config
        self._grid: list[dict[str, Any]] = []
        if config.sampler == "grid":
            every = list(combinations(space))
            order = generator(RandomStream.GRID_ORDER, config.seed).permutation(len(every))
            self._grid = [every[place] for place in order]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The ranges that TPE samples jointly: all of them, once a trial has ended."""
        return self._tpe(trial).infer_relative_search_space(study, trial) if self._config.sampler == "tpe" else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values that TPE proposes; none while too few trials have ended."""
        return self._tpe(trial).sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value from the grid, or a random one."""
        if self._config.sampler == "grid":
            return self._grid[trial.number % len(self._grid)][param_name]
        name = zlib.crc32(param_name.encode())
        sampler = RandomSampler(seed=self._seed(RandomStream.TRIAL_PARAMETER, trial.number, name))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _tpe(self, trial: FrozenTrial) -> TPESampler:
        seed = self._seed(RandomStream.TRIAL, trial.number)
        return TPESampler(n_startup_trials=self._config.random_trials, seed=seed, multivariate=True, constant_liar=True)

    def _seed(self, stream: RandomStream, *place: int) -> int:
        return derived_seed(stream, self._config.seed, *place, bits=32)


def _pruner(config: SearchConfig) -> BasePruner:
    match config.pruning:
        case "median":
            # Optuna's steps are epochs, which are numbered from 1.
            return MedianPruner(n_startup_trials=config.pruning_trials, n_warmup_steps=config.pruning_epochs + 1)
        case "none":
            return NopPruner()


def _suggest(trial: Trial, name: str, span: Range) -> Any:
    match _distribution(span):
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=lowest, high=highest, step=distance, log=log):
            return trial.suggest_float(name, lowest, highest, step=distance, log=log)
        case other:
            raise TypeError(f"{name}: {other} has no value")


def _distribution(span: Range) -> BaseDistribution:
    if isinstance(span, Choices):
        return CategoricalDistribution(span.values)
    if span.whole:
        return IntDistribution(int(span.low), int(span.high), log=span.log, step=int(span.step or 1))
    return FloatDistribution(span.low, span.high, log=span.log, step=span.step)


def _defining_settings(search: SearchFile) -> dict[str, Any]:
    """The settings that the trials depend on, as JSON values; not their number, nor where they run."""
    config = search.config
    fixed = {f"[train] {key}": value for key, value in search.fixed.items() if key not in ("devices", "save_minutes")}
    space = {f"[space] {key}": str(span) for key, span in search.space.items()}
    names = ("seed", "sampler", "random_trials", "pruning", "pruning_trials", "pruning_epochs")
    return {**fixed, _MONITOR: search.monitor, **space, **{name: getattr(config, name) for name in names}}


def _check_unchanged(search: SearchFile, study: Study, requested: Mapping[str, Any]) -> None:
    stored = study.user_attrs.get(_MADE_FROM)
    if stored is None:
        study.set_user_attr(_MADE_FROM, dict(requested))
        return
    differing = differences({_MONITOR: _EARLIER_MONITOR, **stored}, requested)
    if differing:
        raise RunError(
            f"{search.out}: expected the search of {search.path}, found one of other settings or inputs: {differing}; "
            f"name another `out` in {search.path}, or remove this one; its results are in its trials.csv and best.toml"
        )
