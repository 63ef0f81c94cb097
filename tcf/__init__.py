"""Recommendation from item texts: compute text vectors once with a language model, train, rank, evaluate.

The public API is what `tcf.__all__` names: a function for each stage, the settings that these functions take, the
results that they return, and the errors that they raise. It follows semantic versioning. Everything else, including
every module below `tcf`, is private and may change in any version.

Example:
    ```python
    import tcf

    ratings = tcf.download_dataset("ml-100k")
    dataset = tcf.prepare_dataset("recbole", ratings, "dataset", tcf.PrepareConfig(min_rating=1))
    extraction = tcf.extract_vectors(dataset, "minilm", "cache")
    run = tcf.train_recommender(dataset, extraction, out="run", config=tcf.TrainConfig(epochs=20))
    evaluation = tcf.evaluate_run(run, "evaluation")
    print(evaluation.metrics["hr@10"])
    print(tcf.recommend_items(run, k=5).to_pandas())
    ```

A directory is given as a string, a `pathlib.Path`, or the result that was opened or made there; `~` is expanded. Names
are imported when they are first used, so that `import tcf` is fast.
"""

TYPE_CHECKING = False  # as typing has it; its import would delay the first moments of the command line

if TYPE_CHECKING:
    from tcf.api.combination import combine_runs, open_combination
    from tcf.api.comparison import compare_evaluations, evaluation_table
    from tcf.api.data import download_dataset, open_cache, open_dataset, prepare_dataset
    from tcf.api.evaluation import (
        evaluate_baseline,
        evaluate_run,
        evaluate_runs,
        open_evaluation,
        recommend_items,
    )
    from tcf.api.extraction import extract_vectors, plan_extraction
    from tcf.api.study import run_pipeline, run_study
    from tcf.api.training import open_run, train_recommender
    from tcf.common.errors import (
        CacheError,
        ConfigError,
        DataError,
        DivergedError,
        ModelError,
        RunError,
        TcfError,
    )
    from tcf.config.combine import CombineConfig
    from tcf.config.evaluate import EvaluateConfig
    from tcf.config.extract import ExtractConfig
    from tcf.config.launch import LaunchConfig
    from tcf.config.prepare import PrepareConfig
    from tcf.config.train import TrainConfig
    from tcf.data.cache.caches import TokenStates, VectorCache
    from tcf.data.dataset import Dataset
    from tcf.evaluate.combination.combined_run import CombinedRun
    from tcf.evaluate.compare.comparison import Comparison
    from tcf.evaluate.evaluation import Evaluation
    from tcf.evaluate.evaluation_table import EvaluationTable
    from tcf.evaluate.groups.group_table import GroupTable
    from tcf.evaluate.recommend import Recommendations
    from tcf.evaluate.seeds import SeedEvaluations
    from tcf.extract.plan.plan import Plan
    from tcf.extract.result import Extraction
    from tcf.launch.study.results.pipeline_result import PipelineResult
    from tcf.launch.study.results.study_result import StudyResult
    from tcf.train.run.open_run import Run

__all__ = [
    "CacheError",
    "CombineConfig",
    "CombinedRun",
    "Comparison",
    "ConfigError",
    "DataError",
    "Dataset",
    "DivergedError",
    "EvaluateConfig",
    "Evaluation",
    "EvaluationTable",
    "ExtractConfig",
    "Extraction",
    "GroupTable",
    "LaunchConfig",
    "ModelError",
    "PipelineResult",
    "Plan",
    "PrepareConfig",
    "Recommendations",
    "Run",
    "RunError",
    "SeedEvaluations",
    "StudyResult",
    "TcfError",
    "TokenStates",
    "TrainConfig",
    "VectorCache",
    "__version__",
    "combine_runs",
    "compare_evaluations",
    "download_dataset",
    "evaluate_baseline",
    "evaluate_run",
    "evaluate_runs",
    "evaluation_table",
    "extract_vectors",
    "open_cache",
    "open_combination",
    "open_dataset",
    "open_evaluation",
    "open_run",
    "plan_extraction",
    "prepare_dataset",
    "recommend_items",
    "run_pipeline",
    "run_study",
    "train_recommender",
]

__version__ = "0.1.0"

# Where each name is defined; the imports above say the same to type checkers.
_MODULES = (
    ("tcf.api.combination", ("combine_runs", "open_combination")),
    ("tcf.api.comparison", ("compare_evaluations", "evaluation_table")),
    ("tcf.api.data", ("download_dataset", "open_cache", "open_dataset", "prepare_dataset")),
    (
        "tcf.api.evaluation",
        (
            "evaluate_baseline",
            "evaluate_run",
            "evaluate_runs",
            "open_evaluation",
            "recommend_items",
        ),
    ),
    ("tcf.api.extraction", ("extract_vectors", "plan_extraction")),
    ("tcf.api.study", ("run_pipeline", "run_study")),
    ("tcf.api.training", ("open_run", "train_recommender")),
    (
        "tcf.common.errors",
        ("CacheError", "ConfigError", "DataError", "DivergedError", "ModelError", "RunError", "TcfError"),
    ),
    ("tcf.config.combine", ("CombineConfig",)),
    ("tcf.config.evaluate", ("EvaluateConfig",)),
    ("tcf.config.extract", ("ExtractConfig",)),
    ("tcf.config.launch", ("LaunchConfig",)),
    ("tcf.config.prepare", ("PrepareConfig",)),
    ("tcf.config.train", ("TrainConfig",)),
    ("tcf.data.cache.caches", ("TokenStates", "VectorCache")),
    ("tcf.data.dataset", ("Dataset",)),
    ("tcf.evaluate.combination.combined_run", ("CombinedRun",)),
    ("tcf.evaluate.compare.comparison", ("Comparison",)),
    ("tcf.evaluate.evaluation", ("Evaluation",)),
    ("tcf.evaluate.evaluation_table", ("EvaluationTable",)),
    ("tcf.evaluate.groups.group_table", ("GroupTable",)),
    ("tcf.evaluate.recommend", ("Recommendations",)),
    ("tcf.evaluate.seeds", ("SeedEvaluations",)),
    ("tcf.extract.plan.plan", ("Plan",)),
    ("tcf.extract.result", ("Extraction",)),
    ("tcf.launch.study.results.pipeline_result", ("PipelineResult",)),
    ("tcf.launch.study.results.study_result", ("StudyResult",)),
    ("tcf.train.run.open_run", ("Run",)),
)


def __getattr__(name: str) -> object:
    import importlib

    for module, names in _MODULES:
        if name in names:
            value = getattr(importlib.import_module(module), name)
            globals()[name] = value  # the next time, Python finds it without this function
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
