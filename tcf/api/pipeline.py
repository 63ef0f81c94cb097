"""The public function that runs all stages of a pipeline file."""

from tcf.api.arguments import PathLike, as_path
from tcf.launch.pipeline import PipelineResult
from tcf.launch.pipeline import run_pipeline as run_stages
from tcf.launch.pipeline_file import read_pipeline

__all__ = ["run_pipeline"]


def run_pipeline(file: PathLike) -> PipelineResult:
    """Run all stages of a configuration file that have not been run yet.

    Args:
        file: a TOML file such as `examples/quickstart.toml`, which explains all entries.

    Returns:
        The results; `print(result.summary())` compares the evaluations.

    Raises:
        ConfigError: the file is missing, or a setting in it is unknown, of the wrong type or missing.
        TcfError: a stage failed.

    Example:
        ```python
        result = tcf.run_pipeline("pipeline.toml")
        print(tcf.evaluation_table(result.evaluations).to_pandas())
        ```
    """
    return run_stages(read_pipeline(as_path(file, "file")))
