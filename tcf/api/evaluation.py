"""Public functions for the steps after training: evaluate, recommend."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tcf.api.arguments import (
    CachePaths,
    DataPath,
    PathLike,
    VectorsPath,
    as_path,
    as_paths,
    at_least,
    checked_config,
)
from tcf.common.errors import ConfigError, DataError, value_words
from tcf.common.integrity.checksums import Verify
from tcf.config.evaluate import Baseline, CataloguePolicy, EvaluateConfig, Search, UntrainedUsers
from tcf.config.typed_values import typed
from tcf.evaluate import stage
from tcf.evaluate.combination.combined_run import CombinedRun
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation import open_evaluation as open_directory
from tcf.evaluate.evaluation_table import EvaluationTable
from tcf.evaluate.finished_run import FinishedRun, on_device, open_finished_run
from tcf.evaluate.recommend import Recommendations, recommend
from tcf.launch.evaluation.evaluate_runs import evaluate_runs as evaluate_many
from tcf.train.run.open_run import Run

__all__ = [
    "evaluate_baseline",
    "evaluate_run",
    "evaluate_runs",
    "open_evaluation",
    "recommend_items",
]


def evaluate_run(
    run: PathLike | FinishedRun,
    out: PathLike,
    config: EvaluateConfig = EvaluateConfig(),
    *,
    data: DataPath | None = None,
    caches: CachePaths = (),
    vectors: VectorsPath | None = None,
) -> Evaluation:
    """Rank the whole catalogue for every user with a run's model, and measure the ranks of the held-out items.

    An evaluation at `out` of the same run with the same settings is opened and returned.

    Args:
        run: the run or the combination, or its directory.
        out: evaluation directory to create.
        config: which held-out item to rank, among which items, and how to treat items that the user has already seen;
            an open run stays on its device unless another one is named here.
        data: the dataset, if it is no longer where the run found it.
        caches: the vector caches, likewise, in the order of training; those of a combination run by run.
        vectors: a vector cache, or its directory, on which the diversity of each user's list is measured, if
            `config.lists`; the same for all evaluations that are to be compared.

    Returns:
        Metrics, and the rank of each user's item.

    Raises:
        RunError: the run is unfinished, its dataset or caches have changed since, or `out` holds something else.
        DataError: no user has a held-out item.

    Example:
        ```python
        evaluation = tcf.evaluate_run("run", "evaluation", tcf.EvaluateConfig(split="test"))
        print(evaluation.metrics["hr@10"], evaluation.to_pandas("ranks").describe())
        ```
    """
    settings, place = checked_config(config, EvaluateConfig), as_path(out, "out")
    cache = _place_of(vectors)
    opened = _opened(run, data, caches, settings.device, settings.verify)
    return stage.evaluate_run(opened, out=place, config=settings, vectors=cache)


def evaluate_baseline(
    name: Baseline,
    data: DataPath,
    out: PathLike,
    config: EvaluateConfig = EvaluateConfig(),
    *,
    seed: int = 0,
    vectors: VectorsPath | None = None,
) -> Evaluation:
    """Evaluate a ranking that needs no training.

    Args:
        name: popularity, random or co-occurrence.
        data: the dataset, or its directory.
        out: evaluation directory to create.
        config: which held-out item to rank, among which items, and how to treat items that the user has already seen.
        seed: seed of the random ranking.
        vectors: a vector cache, or its directory, on which the diversity of each user's list is measured, if
            `config.lists`.

    Returns:
        Metrics, and the rank of each user's item.

    Raises:
        ConfigError: the name is unknown, or the seed is not a whole number.
        DataError: there is no dataset at the path, or no user has a held-out item.
        RunError: `out` holds something else.

    Example:
        ```python
        popularity = tcf.evaluate_baseline("popularity", "dataset", "popularity")
        ```
    """
    known, number = typed(name, Baseline, "name"), at_least(0, seed, "seed")
    settings = checked_config(config, EvaluateConfig)
    source, place = as_path(data, "data"), as_path(out, "out")
    return stage.evaluate_baseline(
        known, data=source, out=place, config=settings, seed=number, vectors=_place_of(vectors)
    )


def evaluate_runs(
    runs: PathLike | FinishedRun | Sequence[PathLike | FinishedRun],
    out: PathLike,
    config: EvaluateConfig = EvaluateConfig(),
    *,
    baselines: Baseline | Sequence[Baseline] = (),
    data: DataPath | None = None,
    caches: CachePaths = (),
    seed: int = 0,
    workers: int = 1,
    devices: str = "",
    vectors: VectorsPath | None = None,
) -> EvaluationTable:
    """Evaluate many runs, and baselines on their datasets: each has a directory below `out`, named after its own.

    Datasets and caches are opened once. Evaluations that are there already are found; one that fails does not stop the
    others, and is reported at the end.

    Args:
        runs: the directories of runs and combinations; also of different datasets.
        out: the folder of all evaluations.
        config: which held-out item to rank, among which items, and how to treat items that the user has already seen.
        baselines: popularity, random or co-occurrence, or several of them.
        data: the dataset, if it is no longer where the runs found it.
        caches: the vector caches, likewise, in the order of training; for the runs that have any.
        seed: seed of the random ranking.
        workers: number of processes that share out the runs.
        devices: the devices of these processes, such as `cuda:0,cuda:1`, in place of `config.device`.
        vectors: a vector cache, or its directory, on which the diversity of each user's list is measured, if
            `config.lists`.

    Returns:
        All evaluations by name, as a table: `table.evaluations["text"]` is one of them, `print(table)` shows them all.

    Raises:
        ConfigError: a baseline is unknown, a device does not exist, or a run or a baseline is given twice.
        RunError: some could not be evaluated, and why; the others are at `out`, where the same call finds them.

    Example:
        ```python
        table = tcf.evaluate_runs(["run"], "evaluations", baselines=["popularity"])
        print(table)
        ```
    """
    settings, place = checked_config(config, EvaluateConfig), as_path(out, "out")
    names = [baselines] if isinstance(baselines, str) else baselines
    if not isinstance(names, Sequence):
        raise ConfigError(f"baselines: expected names of baselines, found {type(names).__name__}")
    done = evaluate_many(
        as_paths(runs, "runs"),
        [typed(name, Baseline, f"baselines[{number}]") for number, name in enumerate(names)],
        out=place,
        config=settings,
        data=None if data is None else as_path(data, "data"),
        caches=as_paths(caches, "caches"),
        seed=at_least(0, seed, "seed"),
        workers=at_least(1, workers, "workers"),
        devices=typed(devices, str, "devices"),
        vectors=_place_of(vectors),
    )
    done.check()
    return done.table


def open_evaluation(path: PathLike, *, verify: Verify = "once") -> Evaluation:
    """Open an evaluation that `evaluate_run` or `evaluate_baseline` made.

    Args:
        path: the evaluation's directory.
        verify: `once` or `always`: whether large files that this machine has verified are verified again.

    Returns:
        Metrics, and the rank of each user's item.

    Raises:
        RunError: there is no finished evaluation at the path, or it is damaged.

    Example:
        ```python
        evaluation = tcf.open_evaluation("evaluation")
        ```
    """
    return open_directory(as_path(path, "path"), verify=typed(verify, Verify, "verify"))


def recommend_items(
    run: PathLike | FinishedRun,
    k: int = 10,
    users: str | Iterable[str] | Path | None = None,
    out: PathLike | None = None,
    *,
    catalogue: CataloguePolicy | None = None,
    untrained_users: UntrainedUsers = "keep",
    data: DataPath | None = None,
    caches: CachePaths = (),
    device: str = "auto",
    search: Search = "auto",
    shares: bool = False,
    verify: Verify = "once",
) -> Recommendations:
    """Find the best items for each user that the user has not had yet.

    Left out is all that the raw files say the user has had, whether or not the dataset keeps it in the history.

    Args:
        run: the run or the combination, or its directory.
        k: maximum number of items per user.
        users: a user id, or several; a `pathlib.Path` is a file of ids, one per line. None for all users.
        out: file to write, which replaces an earlier one of tcf; `-` for CSV on standard output; None to keep the
            result in memory.
        catalogue: which items may be recommended: `all`, or those with a training interaction (`trained`). None:
            `trained` for runs on ids alone, which know nothing of other items, otherwise `all`.
        untrained_users: whether users whom a user tower of ids has never trained get items (`keep`) or none
            (`leave-out`).
        data: the dataset, if it is no longer where the run found it.
        caches: the vector caches, likewise, in the order of training; those of a combination run by run.
        device: where to compute; an open run stays on its device unless another one is named.
        search: what computes the scores: `torch`, or `faiss`; `auto` is torch.
        shares: whether to tell how each member of a combination shares in a score.
        verify: `once` or `always`: whether large files that this machine has verified are verified again.

    Returns:
        Items and scores, best first.

    Raises:
        ConfigError: `k` is less than 1, a policy is unknown, or shares are asked for of a run that is no combination.
        DataError: a user is unknown or named twice, or no item has a training interaction.
        RunError: the run is unfinished, or its dataset or caches have changed since.

    Example:
        ```python
        recommended = tcf.recommend_items("run", k=3, users=["u0", "u1"])
        print(recommended.to_pandas())
        ```
    """
    places, chosen = at_least(1, k, "k"), _user_ids(users)
    file = None if out is None else as_path(out, "out")
    items, engine = typed(catalogue, CataloguePolicy | None, "catalogue"), typed(search, Search, "search")
    untrained, told = typed(untrained_users, UntrainedUsers, "untrained_users"), typed(shares, bool, "shares")
    opened = _opened(run, data, caches, device, typed(verify, Verify, "verify"))
    return recommend(
        opened,
        out=file,
        k=places,
        users=chosen,
        catalogue=items,
        untrained_users=untrained,
        search=engine,
        shares=told,
    )


def _place_of(vectors: VectorsPath | None) -> Path | None:
    return None if vectors is None else as_path(vectors, "vectors")


def _opened(
    run: PathLike | FinishedRun, data: DataPath | None, caches: CachePaths, device: str, verify: Verify
) -> FinishedRun:
    """The run, opened on the device to compute on."""
    places = as_paths(caches, "caches")
    if isinstance(run, Run | CombinedRun) and data is None and not places:
        return on_device(run, device)
    dataset = None if data is None else as_path(data, "data")
    members = run.run_places if isinstance(run, CombinedRun) else None
    return open_finished_run(
        as_path(run, "run"), data=dataset, caches=places, members=members, device=device, verify=verify
    )


def _user_ids(users: str | Iterable[str] | Path | None) -> Path | Sequence[str] | None:
    if users is None:
        return None
    if isinstance(users, Path):
        return as_path(users, "users")
    if not isinstance(users, Iterable):
        raise DataError(f"users: expected user ids, or a file of ids as a pathlib.Path, found {value_words(users)}")
    ids = [users] if isinstance(users, str) else list(users)
    for number, user in enumerate(ids):
        if not isinstance(user, str):
            raise DataError(f"users[{number}]: expected a user id as a string, found {user!r}")
    return ids
