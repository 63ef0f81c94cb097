"""Public functions for combinations of finished runs: combine, open."""

from collections.abc import Mapping, Sequence

from tcf.api.arguments import CachePaths, DataPath, PathLike, as_path, as_paths, checked_config
from tcf.common.errors import ConfigError, value_words
from tcf.common.integrity.checksums import Verify
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.typed_values import typed
from tcf.evaluate.combination.combine import combine
from tcf.evaluate.combination.combined_run import CombinedRun
from tcf.evaluate.combination.combined_run import open_combination as open_directory
from tcf.train.run.open_run import Run

__all__ = ["combine_runs", "open_combination"]


def combine_runs(
    runs: PathLike | Run | Sequence[PathLike | Run] | Mapping[str, PathLike | Run],
    out: PathLike,
    config: CombineConfig = CombineConfig(),
    *,
    baselines: CombinedBaseline | Sequence[CombinedBaseline] = (),
    data: DataPath | None = None,
    caches: CachePaths = (),
) -> CombinedRun:
    """Combine finished runs, and baselines, into one ranking, without training anything.

    Each member's scores are standardised for each user over all items, and added with weights that are fitted to
    validation targets. A combination at `out` of the same members with the same settings is opened and returned.

    Args:
        runs: the runs, or their directories, all of one dataset; by name in a mapping, otherwise named after their
            folders.
        out: directory to create.
        config: weights, or how they are fitted.
        baselines: co-occurrence or popularity, or both, as further members.
        data: the dataset, if it is no longer where the runs found it.
        caches: the runs' vector caches, likewise, run by run, in the order of training.

    Returns:
        The combination, which is evaluated and recommended from like a run.

    Raises:
        ConfigError: there are fewer than two members, or they cannot be combined.
        RunError: a run is unfinished or damaged, or `out` holds something else.
        DataError: no user has a validation target.

    Example:
        ```python
        both = tcf.combine_runs(["run"], "combined", baselines=["co-occurrence"])
        print({member.name: member.weight for member in both.members}, both.metrics["ndcg@10"])
        ```
    """
    settings, place = checked_config(config, CombineConfig), as_path(out, "out")
    names = None
    if isinstance(runs, Mapping):
        names = [typed(name, str, "runs: a name") for name in runs]
        places = tuple(as_path(run, f"runs[{name!r}]") for name, run in runs.items())
    else:
        places = as_paths(runs, "runs")
    listed = [baselines] if isinstance(baselines, str) else baselines
    if not isinstance(listed, Sequence):
        raise ConfigError(f"baselines: expected names of baselines, found {type(baselines).__name__}")
    return combine(
        places,
        out=place,
        config=settings,
        baselines=[typed(name, CombinedBaseline, f"baselines[{number}]") for number, name in enumerate(listed)],
        names=names,
        data=None if data is None else as_path(data, "data"),
        caches=as_paths(caches, "caches"),
    )


def open_combination(
    path: PathLike,
    *,
    runs: Mapping[str, PathLike] | None = None,
    data: DataPath | None = None,
    caches: CachePaths = (),
    device: str = "auto",
    verify: Verify = "once",
) -> CombinedRun:
    """Open a combination that `combine_runs` made.

    Args:
        path: its directory.
        runs: runs that are no longer where they were combined, by their names as members.
        data: the dataset, if it is no longer where the runs found it.
        caches: the runs' vector caches, likewise, run by run, in the order of training.
        device: device to compute on: auto, cpu, cuda, cuda:1, ...
        verify: `once` or `always`: whether large files that this machine has verified are verified again.

    Returns:
        The combination; the models of its runs are loaded when they are first needed.

    Raises:
        RunError: there is no combination at the path, it is damaged, or a run is gone, damaged or another one.
        DataError: the dataset is missing or damaged.
        CacheError: a cache is missing or damaged.

    Example:
        ```python
        both = tcf.open_combination("combined", device="cpu")
        print(both.item_vectors().shape)
        ```
    """
    if runs is not None and not isinstance(runs, Mapping):
        raise ConfigError(f"runs: expected paths by the names of members, found {value_words(runs)}")
    return open_directory(
        as_path(path, "path"),
        runs={name: as_path(run, f"runs[{name!r}]") for name, run in (runs or {}).items()},
        data=None if data is None else as_path(data, "data"),
        caches=as_paths(caches, "caches"),
        device=typed(device, str, "device"),
        verify=typed(verify, Verify, "verify"),
    )
