"""Stage one: computes vectors, or the states of every token, for the texts of a dataset that the caches lack.

The stage has four steps: open the inputs, plan, load the language model, fill the caches. `extract` runs them on one
device, or on several if the schedule splits one copy of the model over them; `tcf.launch.extract_on_devices` runs the
same steps, and starts a process for every other device before the last step.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.config.extract import ExtractConfig
from tcf.encoders.failures import NotSeparableError
from tcf.extract.fill_caches import CacheFiller
from tcf.extract.inputs import ExtractionInputs, open_inputs
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.plan import Plan, plan_text
from tcf.extract.plan.planner import plan_extraction
from tcf.extract.plan.workload import Workload, workload
from tcf.extract.resolved_settings import may_share_prefixes
from tcf.extract.result import Extraction, finish_extraction
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.load_engine import load_engine
from tcf.extract.schedules.sweep_folder import SweepFolder
from tcf.extract.sentence_options import sentence_notes
from tcf.extract.shards import CUT

__all__ = ["PlannedExtraction", "extract", "load_planned", "plan_stage"]

logger = logging.getLogger(__name__)


def extract(
    *, data: Path, model: Path, name: str, out: Path, config: ExtractConfig, rates: Rates | None = None
) -> Extraction:
    """Fill caches with an encoder's vectors, or token states, for every item text of a dataset.

    Shards are published one by one; an interrupted extraction resumes when it is started again. A new cache appears
    with its first shard, so that a model or a setting that does not work leaves none behind.

    Args:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        name: the model's name, for messages.
        out: the cache, or the folder of several caches; created, or appended to if made by the same encoder.
        config: settings.
        rates: speed of this machine, for the plan; measured, or remembered from earlier runs, if not given.

    Raises:
        DataError: `data` is no dataset.
        ConfigError: a setting does not suit the model or this machine.
        ModelError: the model cannot be loaded, or gives a number that cannot be stored.
        CacheError: a cache was made by another encoder or with other options.
    """
    inputs = open_inputs(data=data, model=model, name=name, out=out, config=config)
    counts = inputs.finished_counts()
    if counts is not None:
        return finish_extraction(inputs, counts, computed=0)
    planned = plan_stage(inputs, rates)
    with CacheFiller.open(inputs, planned.plan, planned.sweep_folder) as filler:
        engine = load_planned(planned) if filler.has_work else None
        counts, computed = filler.fill(engine)
    return finish_extraction(inputs, counts, computed)


@dataclass(frozen=True)
class PlannedExtraction:
    """An extraction with something left to compute, and its plan.

    Attributes:
        inputs: the dataset, the model and the caches.
        workload: what is to be computed.
        plan: how it will be computed, as printed.
        sweep_folder: where a sweep keeps unfinished work.
        rates: speed of this machine, in case it must be planned again; measured, or remembered, if None.
    """

    inputs: ExtractionInputs
    workload: Workload
    plan: Plan
    sweep_folder: SweepFolder
    rates: Rates | None


def plan_stage(inputs: ExtractionInputs, rates: Rates | None = None) -> PlannedExtraction:
    """Plan what is missing, and log the plan; nothing is loaded.

    Args:
        inputs: the dataset, the model and the caches.
        rates: speed of this machine; measured, or remembered from earlier runs, if not given.

    Raises:
        ConfigError: this machine is too small.
        RunError: a cache cannot be written.
    """
    inputs.check_destinations()
    config, outputs = inputs.config, inputs.outputs
    sweep_folder = SweepFolder.beside(outputs[0].path, [output.identity for output in outputs])
    _print_other_sweeps(sweep_folder)
    for note in sentence_notes(config, inputs.folder):
        logger.info(f"extract: {note}")
    settings = inputs.settings
    # In item order, how much neighbours have in common is not known.
    shares = inputs.cut == CUT and may_share_prefixes(config, inputs.folder)
    work = workload(inputs.items, inputs.tokenizer, settings.prefix, settings.max_tokens, inputs.stored, shares=shares)
    plan = _plan(inputs, work, config, rates)
    if plan.schedule == "sweep" and config.checkpoint_layers is not None:
        # A resumed sweep must cut the same shards as before.
        plan = _plan(inputs, work, sweep_folder.with_remembered_cuts(config), rates)
        sweep_folder.remember(plan.macro_batch_rows, plan.micro_batch_tokens)
    _check_shards(config, plan)
    logger.info(plan_text(plan))
    _print_unused(config, plan)
    return PlannedExtraction(inputs, work, plan, sweep_folder, rates)


def load_planned(planned: PlannedExtraction) -> Engine:
    """Load the language model as planned.

    A model that turns out not to run block by block is loaded with the dispatch schedule, unless a schedule was
    requested by name; shards are cut as planned in any case.

    Raises:
        NotSeparableError: the model cannot be run block by block, which the requested schedule requires.
        ModelError: it cannot be loaded.
    """
    inputs, plan = planned.inputs, planned.plan
    config, settings = inputs.config, inputs.settings
    try:
        return load_engine(inputs.folder, inputs.layers, config, settings, plan)
    except NotSeparableError as error:
        if config.schedule != "auto":
            raise
        logger.warning(f"extract: {error}; continuing with --schedule dispatch")
    plan = _plan(inputs, planned.workload, replace(config, schedule="dispatch"), planned.rates)
    logger.info(plan_text(plan))
    return load_engine(inputs.folder, inputs.layers, config, settings, plan)


def _plan(inputs: ExtractionInputs, work: Workload, config: ExtractConfig, rates: Rates | None) -> Plan:
    return plan_extraction(inputs.folder, work, config, name=inputs.name, out=inputs.out, rates=rates)


def _check_shards(config: ExtractConfig, plan: Plan) -> None:
    if config.shards is not None and plan.schedule == "sweep" and config.shard_rows is None:
        raise ConfigError(
            "--shards: expected --shard-rows as well, because the size of a sweep's shards depends on free memory and "
            f"all jobs must cut the same shards; this machine would use --shard-rows {plan.macro_batch_rows}"
        )


def _print_other_sweeps(sweep_folder: SweepFolder) -> None:
    """Log unfinished work beside the cache that this extraction will not resume."""
    for folder in sweep_folder.of_others():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        logger.warning(
            f"extract: {folder} holds {as_bytes(size)} of unfinished work of another encoder or with other options; "
            "remove it unless you want to resume that work"
        )


def _print_unused(config: ExtractConfig, plan: Plan) -> None:
    """Log which settings have no effect with this schedule."""
    unused = []
    if config.checkpoint_layers is not None and plan.schedule != "sweep":
        unused.append("--checkpoint-layers, which needs the sweep schedule")
    if config.compile and plan.schedule != "resident":
        unused.append("--compile, which needs the resident schedule")
    for option in unused:
        logger.warning(f"extract: not used: {option}; the schedule is {plan.schedule}")
