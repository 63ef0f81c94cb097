"""What results depend on: a JSON value for each dataset, cache, run and evaluation of a study, whose digest names it.

Settings with their default values are left out, so that a setting that is new in a later version changes nothing.
"""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

from tcf.common.manifest import digest
from tcf.config.combine import CombineConfig
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.fields import to_mapping
from tcf.config.train import TrainConfig
from tcf.launch.study.tables.content import StudyCombination, StudyDataset, StudyEncoder
from tcf.launch.study.tables.layers import Layer

__all__ = [
    "baseline_digest",
    "cache_digest",
    "changed_settings",
    "combination_digest",
    "combination_settings",
    "dataset_digest",
    "evaluation_digest",
    "evaluation_settings",
    "model_digest",
    "run_digest",
    "training_settings",
]

_DECIDE_NO_VECTORS = (
    "layers",
    "parquet",
    "shard_rows",
    "tokens_per_batch",
    "compile",
    "devices",
    "schedule",
    "max_memory",
    "checkpoint_layers",
    "shards",
    "repair",
    "verify",
)
_DECIDE_NO_MODEL = ("devices", "save_minutes", "verify")
_DECIDE_NO_COMBINATION = ("device", "verify")


def changed_settings(config: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the settings that differ from their defaults, as JSON values.

    Args:
        config: a stage's settings.
        but: names of settings to leave out.
    """
    defaults = {entry.name: entry.default for entry in dataclasses.fields(typing.cast(Any, config))}
    changed = {name for name, default in defaults.items() if getattr(config, name) != default}
    return {name: value for name, value in to_mapping(config).items() if name in changed and name not in but}


def dataset_digest(dataset: StudyDataset, content: str) -> str:
    """Return the digest of a dataset's source and settings; paths count as they are written in the file.

    Args:
        dataset: the dataset.
        content: digest of what it is made of; empty if that is not known.
    """
    source = {key: getattr(dataset, key) for key in ("download", "raw", "path", "format")}
    given = {key: str(value) for key, value in source.items() if value is not None}
    return digest(["dataset", given, changed_settings(dataset.prepare), *([content] if content else [])])


def model_digest(encoder: StudyEncoder) -> str:
    """Return the digest of raw weights that are converted."""
    return digest(["model", str(encoder.raw), None if encoder.tokenizer is None else str(encoder.tokenizer)])


def cache_digest(encoder: StudyEncoder, config: ExtractConfig, *, of_layers: bool) -> str:
    """Return the digest of an encoder and of the settings that decide its vectors.

    Args:
        encoder: the encoder.
        config: settings of the extraction.
        of_layers: whether it is of a cache, rather than of the folder of the caches of all layers.
    """
    model = encoder.model or model_digest(encoder)
    layers = [[*config.pooled_layers], config.token_states] if of_layers else []
    return digest(["cache", model, changed_settings(config, _DECIDE_NO_VECTORS), layers])


def training_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide a model but for the seed; of devices only how many draw their own dropout."""
    devices = config.devices.count(",") + 1
    resolved = dataclasses.replace(config, patience=config.resolved_patience, seed=TrainConfig.seed)
    several = {"number of devices": devices} if devices > 1 and (config.dropout or config.id_dropout) else {}
    return {**changed_settings(resolved, _DECIDE_NO_MODEL), **several}


def run_digest(dataset: str, cache: str, layer: Layer | None, config: TrainConfig, *, of_seed: bool) -> str:
    """Return the digest of a run, or of the runs of all seeds.

    Args:
        dataset: digest of the dataset.
        cache: digest of the cache; empty if it reads no vectors.
        layer: the layer, or several; None if it reads no vectors.
        config: settings.
        of_seed: whether the seed counts.
    """
    return digest(["run", dataset, cache, layer, training_settings(config), config.seed if of_seed else None])


def combination_settings(config: CombineConfig) -> dict[str, Any]:
    """Return the settings that decide a combination."""
    return changed_settings(config, _DECIDE_NO_COMBINATION)


def combination_digest(combination: StudyCombination, members: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the digest of a combination, or of those of all seeds.

    Args:
        combination: what is joined; the names of its members count, since it is told by them what each contributes.
        members: digests of the runs of each member.
        seeds: the seeds of these, which count if the runs of all are members of one combination.
    """
    names = [name.removeprefix(f"{combination.dataset}/") for name in combination.members]
    settings = combination_settings(combination.config)
    together = [*seeds] if combination.seeds == "together" else None
    return digest(["combination", names, [*members], [*combination.baselines], settings, together])


def evaluation_settings(config: EvaluateConfig, *, searched: bool = True) -> dict[str, Any]:
    """Return the settings that decide an evaluation.

    Args:
        config: settings.
        searched: whether it is of a run, for which an engine searches.
    """
    is_default = not searched or config.search == "torch"  # which is what auto is
    return changed_settings(config, ("verify", "device", *(("search",) if is_default else ())))


def evaluation_digest(run: str, config: EvaluateConfig) -> str:
    """Return the digest of the evaluation of a run, or of a combination.

    Args:
        run: digest of what is evaluated.
        config: settings.
    """
    return digest(["evaluation", run, evaluation_settings(config)])


def baseline_digest(dataset: str, baseline: Baseline, config: EvaluateConfig) -> str:
    """Return the digest of a baseline's evaluation.

    Args:
        dataset: digest of the dataset.
        baseline: the baseline.
        config: settings.
    """
    return digest(["baseline", dataset, baseline, evaluation_settings(config, searched=False)])
