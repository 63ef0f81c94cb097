"""The whole pipeline from one file: download, prepare, extract, train, evaluate, recommend, compare.

Every stage checks whether its result exists already, so that the same file can be run again after an interruption or a
change.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.assets.models import model_label
from tcf.assets.resolve import fetch_dataset
from tcf.common.errors import RunError
from tcf.config.evaluate import Baseline, CataloguePolicy, EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.data.prepare import prepare
from tcf.encoders.folder.local_model import local_model
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.evaluation_table import Compared, EvaluationTable
from tcf.evaluate.recommend import examples, recommend
from tcf.evaluate.seeds import SeedEvaluations
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.extract.result import Extraction
from tcf.launch.extract_on_devices import extract_on_devices
from tcf.launch.file_terms import errors_in_file_terms, keys_of
from tcf.launch.pipeline_file import PipelineConfig, PlannedTraining
from tcf.launch.train_on_devices import train_on_devices
from tcf.ranking.faiss_search import load_faiss
from tcf.train.stage import TrainResult

__all__ = ["PipelineResult", "run_pipeline"]

logger = logging.getLogger(__name__)

_OF_SEED = re.compile(r"seed-\d+")


@dataclass(frozen=True)
class PipelineResult:
    """The results of a pipeline, made now or by an earlier run.

    Attributes:
        dataset: the dataset's directory.
        extraction: summary of the extraction; None if there is no model.
        runs: the runs, by name; with several seeds by name and seed, such as `text/seed-0`.
        evaluations: evaluations of baselines and runs, by name; with several seeds, those of a run together.
        recommendations: files of recommendations, by the run's name; of several seeds, by the first one's run.
        examples: a few recommendations of the first run, for people; empty if none were requested.
    """

    dataset: Path
    extraction: Extraction | None
    runs: Mapping[str, TrainResult]
    evaluations: Mapping[str, Compared]
    recommendations: Mapping[str, Path]
    examples: str

    def as_json(self) -> dict[str, Any]:
        """The results as JSON values, without the examples."""
        return {
            "dataset": str(self.dataset),
            "extraction": None if self.extraction is None else self.extraction.as_json(),
            "runs": [{"name": name, **run.as_json()} for name, run in self.runs.items()],
            "evaluations": [entry for name, found in self.evaluations.items() for entry in _as_json(name, found)],
            "recommendations": {name: str(file) for name, file in self.recommendations.items()},
        }

    def summary(self) -> str:
        """The comparison of all evaluations, and the examples."""
        shown = [str(EvaluationTable(self.evaluations))] if self.evaluations else []
        return "\n\n".join([*shown, *([self.examples] if self.examples else [])])


def _as_json(name: str, found: Compared) -> Iterator[dict[str, Any]]:
    """An evaluation as JSON values; or those of several seeds, and then their mean."""
    match found:
        case SeedEvaluations():
            for seed, evaluation in found.evaluations.items():
                yield {"name": name, "seed": seed, **evaluation.as_json()}
            yield {"name": name, **found.as_json()}
        case Evaluation():
            yield {"name": name, **found.as_json()}


def run_pipeline(config: PipelineConfig) -> PipelineResult:
    """Run all stages that have not been run yet.

    Raises:
        TcfError: any error of a stage, in terms of the file.
    """
    if config.train:
        load_faiss()
    _refuse_other_layout(config)
    dataset, runs, recommendations = config.out / "dataset", dict[str, TrainResult](), dict[str, Path]()
    _prepare(config, dataset)
    extraction = None if config.model is None else _extract(config, config.model)
    evaluations: dict[str, Compared] = {name: _baseline(config, name) for name in config.baselines}
    for name in config.train:
        found: dict[int, Evaluation] = {}
        for planned in config.trainings(name):
            run = _train(config, planned)
            runs |= {} if run is None else {str(planned.place): run}
            found[planned.settings.seed] = _evaluate(config, planned)
        evaluations[name] = SeedEvaluations(found) if len(found) > 1 else next(iter(found.values()))
        if config.recommend:
            recommendations[name] = _recommend(config, name)
    return PipelineResult(dataset, extraction, runs, evaluations, recommendations, _examples(config))


def _refuse_other_layout(config: PipelineConfig) -> None:
    """Refuse a run without seeds where the runs of several seeds belong, and the reverse."""
    for name in config.train:
        folder = config.out / "runs" / name
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        of_seeds = [entry for entry in there if _OF_SEED.fullmatch(entry)]
        if config.seeds and len(of_seeds) < len(there):
            other = next(entry for entry in there if entry not in of_seeds)
            found = f"expected a folder for each seed, found {other}, as of a run without seeds"
            remedy = "remove it, leave seeds out"
        elif of_seeds and not config.seeds:
            found = f"expected a run without seeds, found those of seeds ({', '.join(of_seeds)})"
            remedy = "set seeds again, remove them"
        else:
            continue
        raise RunError(f"{folder}: {found}; {remedy}, or name another `out` in {config.path}")


def _stage(config: PipelineConfig, table: str, kind: type[Any], *more: str) -> AbstractContextManager[None]:
    """Rephrase errors in terms of a table of the file, which has the settings of `kind` and some more keys."""
    return errors_in_file_terms(config.path, table, (*keys_of(kind), *more))


def _prepare(config: PipelineConfig, dataset: Path) -> None:
    with _stage(config, "data", PrepareConfig):
        raw = config.raw or fetch_dataset(str(config.download))
        logger.info(f"prepare: {raw} -> {dataset}")
        prepare(config.format, raw, dataset, config.prepare)


def _extract(config: PipelineConfig, model: str) -> Extraction:
    data, out = config.out / "dataset", config.out / "cache"
    logger.info(f"extract: {model_label(model)} -> {out}")
    with _stage(config, "extract", ExtractConfig, "model"):
        done = extract_on_devices(data=data, model=local_model(model), name=model, out=out, config=config.extract)
    logger.info(done.summary())
    return done


def _baseline(config: PipelineConfig, name: Baseline) -> Evaluation:
    logger.info(f"evaluate: {name}")
    place = config.out / "evaluations" / name
    with _stage(config, "evaluate", EvaluateConfig):
        return evaluate_baseline(name, data=config.out / "dataset", out=place, config=config.evaluate)


def _train(config: PipelineConfig, planned: PlannedTraining) -> TrainResult | None:
    run, settings = config.out / "runs" / planned.place, planned.settings
    caches = (config.out / "cache",) if settings.reads_text else ()
    logger.info(f"train: {planned.place} -> {run}")
    with _stage(config, f"train.{planned.name}", TrainConfig):
        return train_on_devices(data=config.out / "dataset", caches=caches, out=run, config=settings)


def _evaluate(config: PipelineConfig, planned: PlannedTraining) -> Evaluation:
    logger.info(f"evaluate: {planned.place}")
    run, out = config.out / "runs" / planned.place, config.out / "evaluations" / planned.place
    with _stage(config, "evaluate", EvaluateConfig):
        return evaluate_run(run, out=out, config=config.evaluate)


def _recommend(config: PipelineConfig, name: str) -> Path:
    """Write the recommendations of a run; of several seeds, those of the first one's."""
    place = config.out / "recommendations" / f"{name}.parquet"
    with _stage(config, "evaluate", EvaluateConfig):
        recommend(
            config.out / "runs" / config.trainings(name)[0].place,
            out=place,
            k=config.recommend,
            catalogue=_recommended(config),
            untrained_users=config.evaluate.untrained_users,
            search=config.evaluate.search,
            device=config.evaluate.device,
        )
    return place


def _examples(config: PipelineConfig) -> str:
    """A few recommendations of the first run, for people; empty if none were requested."""
    if not config.recommend or not config.train:
        return ""
    first = config.trainings(next(iter(config.train)))[0]
    run, settings = config.out / "runs" / first.place, config.evaluate
    some = examples(run, users=3, k=3, catalogue=_recommended(config), search=settings.search, device=settings.device)
    return f"Some recommendations of {first.place}:\n{some}"


def _recommended(config: PipelineConfig) -> CataloguePolicy | None:
    """Which items may be recommended: those that evaluations rank if that is a part, otherwise as each run has it."""
    return None if config.evaluate.catalogue == "all" else config.evaluate.catalogue
