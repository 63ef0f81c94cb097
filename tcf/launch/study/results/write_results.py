"""Writes the results of a study: `results.csv`, `results.parquet`, and a comparison of each dataset."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tcf import __version__
from tcf.common.errors import RunError
from tcf.common.files import writing
from tcf.common.manifest import sha256_file
from tcf.common.output.folders import make_folder
from tcf.common.output.output_file import output_file
from tcf.common.output.own_files import is_own_file
from tcf.common.units import counted
from tcf.evaluate.compare.comparison import Comparison
from tcf.evaluate.compare.write_comparison import write_comparison
from tcf.launch.study.expand import expand
from tcf.launch.study.results.comparisons import compare_datasets
from tcf.launch.study.results.encoder_sizes import encoder_sizes
from tcf.launch.study.results.finished import Finished, read_finished
from tcf.launch.study.results.results_table import results_table
from tcf.launch.study.study import Study
from tcf.launch.study.study_file import read_study

__all__ = ["COMPARISONS", "RESULTS", "write_results", "write_results_of"]

logger = logging.getLogger(__name__)

RESULTS = "results"
"""Name of the tables, without suffix."""
COMPARISONS = "comparisons"
"""Folder of the comparisons: for each dataset one as JSON and one as CSV."""


def write_results(file: Path, overrides: Sequence[str]) -> None:
    """Write the results of what has been evaluated of a study.

    Args:
        file: the study's file.
        overrides: entries that replace those of the file, as `KEY=VALUE`.

    Raises:
        ConfigError: the file is wrong.
        RunError: an evaluation is damaged; a file is there that tcf did not write; or one cannot be written.
    """
    write_results_of(expand(read_study(file, overrides), write=False))


def write_results_of(study: Study) -> None:
    """Write the results of what has been evaluated of an expanded study; see `write_results`."""
    finished = read_finished(study)
    if finished.missing:
        logger.warning(f"results: {counted(finished.missing, 'evaluation')} are missing, and so are their rows")
    comparisons = compare_datasets(study, finished)
    _write_comparisons(study.out / COMPARISONS, comparisons)
    _write_table(study, finished)  # last: what shows that all of it is there


def _write_table(study: Study, finished: Finished) -> None:
    table = results_table(study, finished, encoder_sizes(study))
    with output_file(study.out / f"{RESULTS}.csv") as staging:
        pa.csv.write_csv(table, staging)
    with output_file(study.out / f"{RESULTS}.parquet") as staging:
        pq.write_table(table.replace_schema_metadata({"tcf.study": _provenance(study, finished)}), staging)
    logger.info(f"results: {counted(len(table), 'row')} -> {study.out / RESULTS}.csv, .parquet")


def _provenance(study: Study, finished: Finished) -> str:
    """Where the numbers come from: the file, and the fingerprint of each evaluation."""
    evaluations = {
        setting.name: {str(seed): evaluation.manifest.fingerprint for seed, evaluation in of_seeds.items()}
        for setting, of_seeds in finished.settings
    }
    baselines = {
        f"{planned.dataset}/{planned.baseline}": evaluation.manifest.fingerprint
        for planned, evaluation in finished.baselines
    }
    about = {"file": str(study.path), "sha256": _sha256(study.path), "tcf": __version__, "missing": finished.missing}
    return json.dumps({**about, "evaluations": {**baselines, **evaluations}}, ensure_ascii=False)


def _sha256(file: Path) -> str:
    try:
        return sha256_file(file)
    except OSError:
        return ""  # it has been removed since it was read


def _write_comparisons(folder: Path, comparisons: dict[str, Comparison]) -> None:
    """Write each comparison; an earlier one of a dataset that is not compared any longer is removed."""
    if comparisons:
        with writing(folder):
            make_folder(folder)
    for dataset, comparison in comparisons.items():
        for suffix in ("json", "csv"):
            write_comparison(comparison, folder / f"{dataset}.{suffix}")
    if folder.is_dir():
        kept = {f"{dataset}.{suffix}" for dataset in comparisons for suffix in ("json", "csv")}
        _remove_earlier([entry for entry in folder.iterdir() if entry.name not in kept])


def _remove_earlier(files: Sequence[Path]) -> None:
    """Remove comparisons of earlier plans, which would be taken for results of this one; other files stay."""
    for file in files:
        if file.is_file() and file.suffix in (".json", ".csv") and is_own_file(file):
            try:
                file.unlink()
            except OSError:
                raise RunError(f"{file}: expected to remove an earlier comparison, could not; remove it") from None
