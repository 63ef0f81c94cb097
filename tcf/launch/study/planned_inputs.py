"""The units of a study that make what trainings read: downloads, datasets, converted weights, and caches."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from tcf.assets.models import MODEL_NAMES
from tcf.config.toml_files import user_path
from tcf.launch.study.belonging import is_cache, is_dataset
from tcf.launch.study.contents import content_of
from tcf.launch.study.identities import cache_digest, dataset_digest, model_digest
from tcf.launch.study.places import Places
from tcf.launch.study.tables.content import StudyDataset, StudyEncoder, StudyExtraction, StudyFile
from tcf.launch.study.unit_list import UnitList
from tcf.launch.study.wanted_places import WantedPlaces
from tcf.launch.units.tasks import ConvertTask, DownloadTask, ExtractTask, PrepareTask

__all__ = ["PlannedCache", "PlannedDataset", "plan_cache", "plan_dataset"]


@dataclass(frozen=True)
class PlannedDataset:
    """A dataset, and what makes it.

    Attributes:
        path: the dataset directory.
        digest: of what decides its content.
        needs: names of the units that make it; empty if it is there already.
    """

    path: Path
    digest: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class PlannedCache:
    """The cache of an encoder and a pooling, or the folder of those of all its layers, and what fills it.

    Attributes:
        path: the cache, or the folder.
        digest: of what decides its vectors.
        has_layers: whether it is a folder with a cache for each layer.
        needs: names of the units that fill it for one dataset.
    """

    path: Path
    digest: str
    has_layers: bool
    needs: tuple[str, ...]

    def of_layer(self, layer: int) -> Path:
        """The cache of a layer."""
        return self.path / f"layer{layer}" if self.has_layers else self.path


def plan_dataset(dataset: StudyDataset, places: Places, wanted: WantedPlaces, units: UnitList) -> PlannedDataset:
    """Add the units that make a dataset.

    Args:
        dataset: the dataset.
        places: where results are.
        wanted: what these places are called.
        units: the units of the study so far.
    """
    digest = dataset_digest(dataset, content_of(dataset))
    if dataset.path is not None or dataset.format is None:
        return PlannedDataset((dataset.path or Path(dataset.name)).absolute(), digest, ())
    format, config = dataset.format, dataset.prepare
    out = places.of(wanted.dataset(dataset.name), digest, lambda path: is_dataset(path, format, config))
    needs: tuple[str, ...] = ()
    if dataset.download is not None:
        needs = (units.add(f"download/datasets/{dataset.download}", DownloadTask("dataset", dataset.download)),)
    raw = "" if dataset.raw is None else str(dataset.raw.absolute())
    task = PrepareTask(format, raw, dataset.download or "", out, config)
    return PlannedDataset(out, digest, (units.add(f"prepare/{units.place(out)}", task, needs),))


def plan_cache(
    extraction: StudyExtraction,
    data: PlannedDataset,
    file: StudyFile,
    places: Places,
    wanted: WantedPlaces,
    units: UnitList,
    *,
    shared: bool,
) -> PlannedCache:
    """Add the units that fill a cache with the vectors of a dataset: those of parts, and one that finishes it.

    Several datasets may fill one cache at the same time: shards are leased, and only ever added.

    Args:
        extraction: what is extracted.
        data: the dataset.
        file: the study.
        places: where results are.
        wanted: what these places are called.
        units: the units of the study so far.
        shared: whether other extractions fill the same cache.
    """
    encoder, config, has_layers = extraction.encoder, extraction.config, not file.is_pipeline
    digest = cache_digest(encoder, config, of_layers=file.is_pipeline)
    model, needs = _plan_model(encoder, places, wanted, units)
    names = (model, encoder.model or "")
    place = places.of(
        wanted.cache(extraction), digest, lambda path: is_cache(path, names, config, any_layer=has_layers)
    )
    # A single layer has the place that it would have beside others, so that layers can be added to a study.
    is_single = has_layers and len(config.pooled_layers) == 1
    out = place / f"layer{config.pooled_layers[0]}" if is_single else place
    name = f"extract/{units.place(place)}/{units.place(data.path) or extraction.dataset}"
    task, needs = ExtractTask(data.path, model, out, config), (*data.needs, *needs)
    needs = _plan_parts(task, name, file.launch["extract"].workers or 1, units, needs)
    if shared:
        # "All of one part" computes the same, and leaves alone what other processes keep for unfinished shards.
        task = _part(task, "0/1")
    return PlannedCache(place, digest, has_layers, (units.add(name, task, needs),))


def _plan_parts(task: ExtractTask, name: str, parts: int, units: UnitList, needs: tuple[str, ...]) -> tuple[str, ...]:
    """Add a unit for each part of the shards, if there are several; returns what the unit that finishes them needs."""
    if parts == 1 or task.config.repair or task.config.shards is not None:
        return needs
    own = (_part(task, f"{part}/{parts}") for part in range(parts))
    return tuple(units.add(f"{name}/part-{part}-of-{parts}", one, needs) for part, one in enumerate(own))


def _part(task: ExtractTask, shards: str) -> ExtractTask:
    """The extraction of a part of the shards, which cannot write all vectors to a file."""
    return dataclasses.replace(task, config=dataclasses.replace(task.config, shards=shards, parquet=False))


def _plan_model(
    encoder: StudyEncoder, places: Places, wanted: WantedPlaces, units: UnitList
) -> tuple[str, tuple[str, ...]]:
    """The model's name, or its absolute path, and the unit that downloads or converts it."""
    if encoder.raw is not None:
        tokenizer = None if encoder.tokenizer is None else encoder.tokenizer.absolute()
        out = places.of(wanted.model(encoder.name), model_digest(encoder), lambda path: True)
        task = ConvertTask(encoder.raw.absolute(), out, tokenizer)
        return str(out), (units.add(f"convert/{units.place(out)}", task),)
    model = str(encoder.model)
    if model not in MODEL_NAMES and user_path(model).exists():
        return str(user_path(model).absolute()), ()
    return model, (units.add(f"download/models/{model}", DownloadTask("model", model)),)
