"""The table of a study's results: a row for each setting and seed, and one for the mean over its seeds."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa

from tcf.common.errors import TcfError
from tcf.common.manifest import read_manifest
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import Compared
from tcf.evaluate.intervals import end_columns
from tcf.evaluate.seeds import SeedEvaluations
from tcf.launch.study.results.encoder_sizes import EncoderSize
from tcf.launch.study.results.finished import Finished, Ranking, ranking_name
from tcf.launch.study.study import PlannedCombination, Study
from tcf.launch.units.records import Records
from tcf.ranking.metrics import measured_among
from tcf.train.run.file_names import RUN

__all__ = ["AXES", "FIRST_COLUMNS", "MEAN", "results_table"]

MEAN = "mean"
"""The seed of a row that is the mean over all of them."""

FIRST_COLUMNS = ("dataset", "setting", "seed", "seeds")

AXES = ("encoder", "layer", "pooling", "backbone", "items", "tuning")
"""Axes of the grid that have a column in every study; others follow."""

_SIZES = ("encoder_parameters", "encoder_width", "recommender_parameters", "train_seconds")
_COUNTS = ("split", "users", "targets", "candidates")

_Row = dict[str, Any]


def results_table(study: Study, finished: Finished, sizes: Mapping[Path, EncoderSize]) -> pa.Table:
    """Put the results of a study into a table.

    Columns: `dataset`, `setting`, `seed` (a number, or `mean`), `seeds` (how many the row is the mean of); the axes of
    the grid; `split`, `users`, `targets`, `candidates`; each metric with the ends of its interval (`hr@10`,
    `hr@10_low`, `hr@10_high`); parameters and width of the encoder, parameters of the recommender, and seconds of the
    training. A combination has no place on the axes and no training of its own: `combines` says what its members are,
    the sizes are those of all of them together. Intervals are over users; those of a mean over several seeds over users
    crossed with seeds. A baseline has one row, under `mean`, and so has a combination of the runs of all seeds.

    Args:
        study: the study.
        finished: what of it has been evaluated.
        sizes: of the encoders, by cache.

    Raises:
        RunError: a file of ranks is missing or damaged.
    """
    rows: list[_Row] = []
    for dataset in study.datasets:
        rows += [
            {"dataset": dataset, "setting": planned.baseline, "seed": MEAN, "seeds": 1, **_measured(evaluation)}
            for planned, evaluation in finished.baselines
            if planned.dataset == dataset
        ]
        for setting, of_seeds in finished.settings:
            if setting.dataset == dataset:
                rows += _rows_of(setting, of_seeds, dict(_encoder(setting, sizes)), _train_seconds(study, setting))
    columns = [*_columns(rows)]
    return pa.table({column: _array(column, [row.get(column) for row in rows]) for column in columns})


def _rows_of(
    setting: Ranking, of_seeds: Mapping[int, Evaluation], sizes: _Row, seconds: Mapping[int, float]
) -> Iterator[_Row]:
    about = {"dataset": setting.dataset, "setting": ranking_name(setting)}
    axes = {name: value for name, value in setting.axes.items() if name not in ("dataset", "seed")}
    is_single = isinstance(setting, PlannedCombination) and setting.of_all_seeds
    for seed, evaluation in () if is_single else of_seeds.items():
        trained = {"recommender_parameters": _parameters(setting, seed), "train_seconds": seconds.get(seed)}
        yield {**about, "seed": str(seed), "seeds": 1, **axes, **_measured(evaluation), **sizes, **trained}
    mean: Compared = SeedEvaluations(of_seeds) if len(of_seeds) > 1 else next(iter(of_seeds.values()))
    known = [seconds[seed] for seed in of_seeds if seed in seconds]
    trained = {
        "recommender_parameters": _parameters(setting, next(iter(of_seeds))),
        "train_seconds": fmean(known) if known else None,
    }
    yield {**about, "seed": MEAN, "seeds": len(of_seeds), **axes, **_measured(mean), **sizes, **trained}


def _measured(compared: Compared) -> _Row:
    """What was evaluated, and the metrics with the ends of their intervals."""
    counts = {name: compared.metrics[name] for name in _COUNTS}
    ends = end_columns(compared.intervals)
    found: _Row = {}
    for metric in compared.measured:
        of_metric = (metric.name, f"{metric.name}_low", f"{metric.name}_high")
        values = {**compared.metrics, **ends}
        found |= {name: values.get(name) for name in of_metric}
    return {**counts, **found}


def _encoder(setting: Ranking, sizes: Mapping[Path, EncoderSize]) -> Iterator[tuple[str, int | None]]:
    """Parameters of the encoder, once for all of its layers, and width of the vectors; of several all together."""
    found = [sizes[cache] for cache in setting.caches if cache in sizes]
    if found and len(found) == len(setting.caches):
        of_models = {size.model: size.parameters for size in found}
        parameters = [number for number in of_models.values() if number is not None]
        yield "encoder_parameters", sum(parameters) if len(parameters) == len(of_models) else None
        yield "encoder_width", sum(size.width for size in found)


def _parameters(setting: Ranking, seed: int) -> int | None:
    """Parameters of the run of a seed; of a combination those of all its runs."""
    runs = setting.runs(seed) if isinstance(setting, PlannedCombination) else (setting.runs[seed],)
    try:
        return sum(int(read_manifest(run, RUN).facts["parameters"]) for run in runs)
    except (TcfError, KeyError):
        return None  # the run has been removed; its evaluation has not


def _train_seconds(study: Study, setting: Ranking) -> dict[int, float]:
    """Seconds of the training of each seed, from the records of units, which know those of the last try."""
    if isinstance(setting, PlannedCombination):
        return {}
    records = Records(study.state)
    places = {path: seed for seed, path in setting.runs.items()}
    found = {}
    for unit in study.units:
        seed = next((places[out] for out in unit.task.outputs if out in places), None)
        record = records.read(unit.name) if seed is not None and unit.stage == "train" else None
        if seed is not None and record is not None and record.ended == "done":
            found[seed] = record.seconds
    return found


def _columns(rows: Sequence[_Row]) -> Iterator[str]:
    """The columns in order: those of all studies, further axes, the metrics in their order, sizes."""
    yield from FIRST_COLUMNS
    yield from AXES
    found = dict.fromkeys(column for row in rows for column in row)
    metrics = measured_among([name for name in found if not name.endswith(("_low", "_high"))])
    of_metrics = [name for metric in metrics for name in (metric.name, f"{metric.name}_low", f"{metric.name}_high")]
    fixed = {*FIRST_COLUMNS, *AXES, *_COUNTS, *of_metrics, *_SIZES}
    yield from (name for name in found if name not in fixed)
    yield from (*_COUNTS, *of_metrics, *_SIZES)


def _array(column: str, values: Sequence[Any]) -> pa.Array:
    """A column; values of several kinds become text, and so do the columns that are text in other studies."""
    kinds = {type(value) for value in values if value is not None}
    if column in _SIZES:
        return pa.array(values, pa.float64() if column == "train_seconds" else pa.int64())
    if not kinds and (column == "layer" or column.endswith(("_low", "_high"))):
        # A study of ids alone, or without resamples, has the types of all others.
        return pa.array(values, pa.int64() if column == "layer" else pa.float64())
    if kinds <= {int} and kinds and column not in ("encoder", "pooling"):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and kinds:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
