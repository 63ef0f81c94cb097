"""How large the encoders of a study are: what the sizes of their models are said to be in its results."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import TcfError
from tcf.data.cache.cache_files import VECTORS, read_cache_manifest
from tcf.launch.study.study import Study
from tcf.launch.units.tasks import ExtractTask

__all__ = ["EncoderSize", "encoder_sizes"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderSize:
    """The size of what computed a cache's vectors.

    Attributes:
        model: what the model is called.
        parameters: of the whole model; None if it is not known, or no longer there.
        width: numbers in a vector.
    """

    model: str
    parameters: int | None
    width: int


def encoder_sizes(study: Study) -> dict[Path, EncoderSize]:
    """Measure the encoder of each cache that the settings of a study read, as far as they are there."""
    caches = dict.fromkeys(cache for setting in study.settings for cache in setting.caches)
    models = {cache: model for cache in caches if (model := _model_of(study, cache)) is not None}
    parameters = {model: _parameters(model) for model in dict.fromkeys(models.values())}
    unknown = [model for model, number in parameters.items() if number is None]
    if unknown:
        logger.warning(f"results: the number of parameters is not known of {', '.join(unknown)}")
    return {cache: size for cache in caches if (size := _size(cache, models, parameters)) is not None}


def _size(cache: Path, models: Mapping[Path, str], parameters: Mapping[str, int | None]) -> EncoderSize | None:
    try:
        width = int(read_cache_manifest(cache, VECTORS).facts["width"])
    except TcfError:
        return None  # not made yet, or damaged, which those who read it have said
    model = models.get(cache, "")
    return EncoderSize(model, parameters.get(model), width)


def _model_of(study: Study, cache: Path) -> str | None:
    """The model whose vectors are in a cache, by the unit that fills the cache, or several layers' caches."""
    tasks = [unit.task for unit in study.units if isinstance(unit.task, ExtractTask)]
    return next((task.model for task in tasks if task.out == cache or task.out in cache.parents), None)


def _parameters(model: str) -> int | None:
    """The number of parameters of a model, from its configuration alone."""
    import torch

    from tcf.assets.resolve import find_model
    from tcf.encoders.folder.open_model_folder import open_model_folder
    from tcf.extract.plan.model_size import read_geometry

    try:
        place = find_model(model)
        if place is None:
            return None  # it was read on another machine
        converted = place.with_name(f"{place.name}.converted")
        folder = open_model_folder(converted if converted.is_dir() else place)
        return read_geometry(folder, torch.float32, layers=(-1,)).parameters
    except TcfError as error:
        logger.debug(f"{model}: {error}")
        return None
