"""What the places of a study's results are called, below its folder, if nothing else is there."""

import re

from tcf.config.evaluate import Baseline
from tcf.launch.study.tables.content import StudyCombination, StudyExtraction, StudyFile, StudySetting

__all__ = ["WantedPlaces", "place_name"]


class WantedPlaces:
    """The names of a study's places; those of a pipeline file, which has one dataset and one encoder, are shorter.

    Args:
        file: the content of the file.
    """

    def __init__(self, file: StudyFile) -> None:
        self._is_pipeline = file.is_pipeline

    def dataset(self, name: str) -> str:
        """Where a dataset is."""
        return "dataset" if self._is_pipeline else f"datasets/{name}"

    def model(self, encoder: str) -> str:
        """Where raw weights are converted to."""
        return f"models/{place_name(encoder)}"

    def cache(self, extraction: StudyExtraction) -> str:
        """Where the cache of an encoder is, or the folder of the caches of its layers."""
        if self._is_pipeline:
            return "cache"
        pooling = extraction.config.pooling
        return f"caches/{place_name(extraction.encoder.name)}{'' if pooling == 'auto' else f'-{pooling}'}"

    def runs(self, setting: StudySetting) -> str:
        """Where a setting's run is, or the folder of those of all seeds."""
        return f"runs/{setting.name}"

    def combination(self, combination: StudyCombination) -> str:
        """Where a combination is, or the folder of those of all seeds."""
        return f"combinations/{combination.name}"

    def evaluation(self, ranking: StudySetting | StudyCombination) -> str:
        """Where the evaluation of a run or a combination is, or the folder of those of all seeds."""
        return f"evaluations/{ranking.name}"

    def baseline(self, dataset: str, baseline: Baseline) -> str:
        """Where a baseline's evaluation is."""
        return f"evaluations/{baseline}" if self._is_pipeline else f"evaluations/{dataset}/{baseline}"

    def recommendations(self, name: str) -> str:
        """Where the recommendations of a setting or a combination are."""
        return f"recommendations/{name}.parquet"


def place_name(text: str) -> str:
    """Return a name of a folder for a value: of a path or hub id what follows the last slash.

    Example:
        >>> place_name("facebook/opt-125m"), place_name("my models/a b/")
        ('opt-125m', 'a_b')
    """
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", text.rstrip("/").rpartition("/")[2])
