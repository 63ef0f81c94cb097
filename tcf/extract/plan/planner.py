"""Makes the plan for a model and a catalogue on this machine; reads files' headers and devices, loads nothing."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from tcf.assets.resolve import find_model
from tcf.common.devices import resolve_devices
from tcf.common.errors import ModelError
from tcf.common.files import home
from tcf.config.extract import ExtractConfig
from tcf.data.item_table import ItemTable
from tcf.encoders.encoder import resolve_dtype
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.local_model import local_model
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.opt_sizes import OptSize, opt_size
from tcf.encoders.split.skeleton import check_separable_weights
from tcf.encoders.tokenize import TextTokenizer
from tcf.extract.plan.choose_schedule import make_plan
from tcf.extract.plan.machine import Machine, read_machine
from tcf.extract.plan.measured_rates import Rates, measure_rates
from tcf.extract.plan.model_size import read_geometry
from tcf.extract.plan.plan import Plan
from tcf.extract.plan.plan_inputs import PlanInputs
from tcf.extract.plan.workload import Workload, expected_workload, workload
from tcf.extract.resolved_settings import check_settings, count_unpooled, may_share_prefixes
from tcf.extract.sentence_options import sentence_notes, text_prefix, token_limit, vector_width

__all__ = ["plan_extraction", "plan_for_data", "plan_for_items", "planned_widths"]

logger = logging.getLogger(__name__)


def plan_for_data(model: str, data: Path, out: Path | None, config: ExtractConfig) -> Plan:
    """The plan for a dataset, as if no cache existed yet.

    Args:
        model: a name, folder or file; nothing is downloaded.
        data: a dataset directory.
        out: where the output would go; its disk's free space is checked.
        config: settings.

    Raises:
        DataError: `data` is no dataset.
        ModelError: the model is not on this machine.
        ConfigError: the machine is too small, or a setting does not suit the model.
    """
    items = ItemTable.open(data)
    with _folder(model, config) as folder:
        _log_notes(config, folder)
        prefix, max_tokens = text_prefix(config, folder), token_limit(config, folder)
        tokenizer = _tokenizer(folder, config)
        if tokenizer is not None and config.pooled_layers:
            count_unpooled(tokenizer, prefix, max_tokens)  # refuses a prompt that leaves no room for a text
        shares = may_share_prefixes(config, folder)
        work = workload(items, tokenizer, prefix, max_tokens, shares=shares)
        return plan_extraction(folder, work, config, name=model, out=out)


def plan_for_items(
    model: str, items: int, tokens_per_text: int | None, out: Path | None, config: ExtractConfig
) -> Plan:
    """The plan for a catalogue that does not exist yet.

    Args:
        model: a name, folder or file; nothing is downloaded.
        items: number of items.
        tokens_per_text: average number of tokens of a text; about that of a title if not given.
        out: where the output would go; its disk's free space is checked.
        config: settings.

    Raises:
        ModelError: the model is not on this machine.
        ConfigError: the machine is too small, or a setting does not suit the model.
    """
    with _folder(model, config) as folder:
        _log_notes(config, folder)
        work = expected_workload(items, tokens_per_text, token_limit(config, folder))
        return plan_extraction(folder, work, config, name=model, out=out)


def planned_widths(model: str, config: ExtractConfig) -> tuple[int, ...]:
    """The width of the vectors of each layer that is pooled, before any are computed.

    Args:
        model: a name, folder or file; nothing is downloaded.
        config: settings.

    Raises:
        ModelError: the model is not on this machine.
        ConfigError: a setting does not suit the model.
    """
    with _folder(model, config) as folder:
        return tuple(vector_width(config, folder, layer) for layer in config.pooled_layers)


def plan_extraction(
    folder: ModelFolder,
    work: Workload,
    config: ExtractConfig,
    *,
    name: str,
    out: Path | None,
    machine: Machine | None = None,
    rates: Rates | None = None,
) -> Plan:
    """The plan for a workload.

    Args:
        folder: the model folder; `config.json` is enough.
        work: what is to be computed.
        config: settings.
        name: the model's name, for messages.
        out: where the output goes; None if not known.
        machine: devices, memory and disk space; read if not given.
        rates: speed of the machine; measured, or remembered from earlier runs, if not given.

    Raises:
        ConfigError: the machine is too small, or a setting does not suit the model.
        ModelError: no model can be built from the configuration, or the requested schedule needs single blocks of a
            model whose weights are quantised.
    """
    check_settings(config, folder)
    if config.schedule in ("sweep", "pipeline") and folder.family != "words":
        check_separable_weights(folder)
    devices = resolve_devices(config.devices) if machine is None else ()
    machine = machine or read_machine(devices, config.max_memory, out)
    device = torch.device(machine.devices[0])
    dtype = resolve_dtype(config.dtype, folder, device)
    layers = list(config.pooled_layers) + ([] if config.token_states is None else [config.token_states])
    geometry = read_geometry(
        folder,
        dtype,
        layers=layers,
        project_out=config.project_out,
        trust_remote_code=config.trust_remote_code,
    )
    rates = rates or measure_rates(geometry.products, dtype, device, geometry.file, home() / "trials")
    return make_plan(
        PlanInputs(
            model=name,
            geometry=geometry,
            workload=_own_share(work, config),
            machine=machine,
            rates=rates,
            config=replace(config, max_tokens=token_limit(config, folder)),
            vector_widths=tuple(vector_width(config, folder, layer) for layer in config.pooled_layers),
        )
    )


def _log_notes(config: ExtractConfig, folder: ModelFolder) -> None:
    """Log what `extract` logs: which prompt and which limit of tokens hold."""
    for note in sentence_notes(config, folder):
        logger.info(f"plan: {note}")


def _own_share(work: Workload, config: ExtractConfig) -> Workload:
    """The share of the work of a job that computes only some of the shards."""
    if config.shard_slice is None:
        return work
    parts = config.shard_slice[1]
    return replace(
        work,
        sequences=-(-work.sequences // parts),
        tokens=-(-work.tokens // parts),
        squares=work.squares / parts,
        shared=work.shared // parts,
        shared_squares=work.shared_squares / parts,
        group_tokens=-(-work.group_tokens // parts),
        exact=False,
    )


def _tokenizer(folder: ModelFolder, config: ExtractConfig) -> TextTokenizer | None:
    """The model's tokenizer; None if the folder has none."""
    found = folder.family == "words" or any(
        (folder.path / name).is_file()
        for name in ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model")
    )
    return load_tokenizer(folder, trust_remote_code=config.trust_remote_code) if found else None


@contextmanager
def _folder(model: str, config: ExtractConfig) -> Iterator[ModelFolder]:
    """A model's folder; for a published OPT size that is not on this machine, a folder with only its configuration.

    Raises:
        ModelError: the model is not on this machine.
    """
    size = opt_size(model)
    found = find_model(model)
    if found is not None:
        yield open_model_folder(local_model(model), trust_remote_code=config.trust_remote_code)
    elif size is not None:
        with _geometry_alone(size) as folder:
            yield folder
    else:
        raise ModelError(
            f"{model}: expected a model on this machine, found none, and planning downloads nothing; download it with "
            "`tcf extract`, or pass a folder with its config.json"
        )


@contextmanager
def _geometry_alone(size: OptSize) -> Iterator[ModelFolder]:
    with tempfile.TemporaryDirectory(prefix="tcf-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(size.settings), encoding="utf-8")
        yield open_model_folder(Path(folder))
