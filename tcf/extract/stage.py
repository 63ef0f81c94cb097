"""Stage one: a vector, or the states of every token, for every text of a dataset that the caches do not have yet.

The stage in four steps: open the inputs, plan, load the language model, fill the caches. `extract` takes them on one
device, or on several where the schedule spreads one copy of the model over them; `tcf.launch.extract_on_devices` takes
the same steps, and starts a process for every other device before the last one.
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
from tcf.extract.result import Extraction, finish_extraction
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.load_engine import load_engine
from tcf.extract.schedules.sweep_folder import SweepFolder

__all__ = ["PlannedExtraction", "extract", "load_planned", "plan_stage"]

logger = logging.getLogger(__name__)


def extract(
    *, data: Path, model: Path, name: str, out: Path, config: ExtractConfig, rates: Rates | None = None
) -> Extraction:
    """Bring caches to hold what an encoder gives for every item text of a dataset.

    Shards are published one by one; an interrupted extraction goes on where it was when it is started again. A new
    cache appears with its first shard, so that a model or a setting that does not work leaves none behind.

    Args:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        name: the model's name, for people.
        out: the cache, or the folder of several; made, or appended to if they are of the same encoder.
        config: settings.
        rates: how fast this machine is, for the plan; measured, or remembered, if not given.

    Raises:
        DataError: no dataset is there.
        ConfigError: a setting does not fit the model or this machine.
        ModelError: the model cannot be loaded, or gives a value that cannot be stored.
        CacheError: a cache is of another encoder or has other options.
    """
    inputs = open_inputs(data=data, model=model, name=name, out=out, config=config)
    counts = inputs.finished_counts()
    if counts is not None:
        return finish_extraction(inputs, counts, computed=0)
    planned = plan_stage(inputs, rates)
    with CacheFiller.open(inputs, planned.plan.macro_batch_rows, planned.sweep_folder) as filler:
        engine = load_planned(planned) if filler.has_work else None
        counts, computed = filler.fill(engine)
    return finish_extraction(inputs, counts, computed)


@dataclass(frozen=True)
class PlannedExtraction:
    """An extraction of which something is missing, and how that will be computed.

    Attributes:
        inputs: what it reads and fills.
        workload: what there is to compute.
        plan: how, as it was printed.
        sweep_folder: where a sweep keeps unfinished work.
        rates: how fast this machine is, should it have to be planned anew; measured, or remembered, if None.
    """

    inputs: ExtractionInputs
    workload: Workload
    plan: Plan
    sweep_folder: SweepFolder
    rates: Rates | None


def plan_stage(inputs: ExtractionInputs, rates: Rates | None = None) -> PlannedExtraction:
    """Plan what is missing, and print the plan on standard error; nothing is loaded.

    Args:
        inputs: what is read and filled.
        rates: how fast this machine is; measured, or remembered, if not given.

    Raises:
        ConfigError: it cannot be done on this machine.
        RunError: a cache cannot be written.
    """
    inputs.check_destinations()
    config, outputs = inputs.config, inputs.outputs
    sweep_folder = SweepFolder.beside(outputs[0].path, [output.identity for output in outputs])
    _print_other_sweeps(sweep_folder)
    work = workload(inputs.items, inputs.tokenizer, config.prefix, config.max_tokens, inputs.stored)
    plan = _plan(inputs, work, config, rates)
    if plan.schedule == "sweep" and config.checkpoint_layers is not None:
        # Shards of a sweep that can be resumed are cut as before.
        plan = _plan(inputs, work, sweep_folder.with_remembered_cuts(config), rates)
        sweep_folder.remember(plan.macro_batch_rows, plan.micro_batch_tokens)
    _check_shards(config, plan)
    logger.info(plan_text(plan))
    _print_unused(config, plan)
    return PlannedExtraction(inputs, work, plan, sweep_folder, rates)


def load_planned(planned: PlannedExtraction) -> Engine:
    """Load the language model as planned.

    A model that turns out not to run block by block is loaded as accelerate lays it out, unless a schedule was asked
    for by name; shards are cut as planned all the same.

    Raises:
        NotSeparableError: the model cannot be run block by block, as the schedule that was asked for needs.
        ModelError: it cannot be loaded.
    """
    inputs, plan = planned.inputs, planned.plan
    config, settings = inputs.config, inputs.settings
    try:
        return load_engine(inputs.folder, inputs.layers, config, settings, plan)
    except NotSeparableError as error:
        if config.schedule != "auto":
            raise
        logger.warning(f"extract: {error}; going on with --schedule dispatch")
    plan = _plan(inputs, planned.workload, replace(config, schedule="dispatch"), planned.rates)
    logger.info(plan_text(plan))
    return load_engine(inputs.folder, inputs.layers, config, settings, plan)


def _plan(inputs: ExtractionInputs, work: Workload, config: ExtractConfig, rates: Rates | None) -> Plan:
    return plan_extraction(inputs.folder, work, config, name=inputs.name, out=inputs.out, rates=rates)


def _check_shards(config: ExtractConfig, plan: Plan) -> None:
    if config.shards is not None and plan.schedule == "sweep" and config.shard_rows is None:
        raise ConfigError(
            "--shards: expected --shard-rows beside it, because in a sweep the size of shards follows from the "
            f"free memory, and all jobs have to cut the same ones; this machine would take {plan.macro_batch_rows}"
        )


def _print_other_sweeps(sweep_folder: SweepFolder) -> None:
    """Say what lies beside the cache that this extraction will not resume."""
    for folder in sweep_folder.of_others():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        logger.warning(
            f"extract: {folder} holds {as_bytes(size)} of unfinished work of another encoder or other options; remove "
            "it unless somebody is going on with that"
        )


def _print_unused(config: ExtractConfig, plan: Plan) -> None:
    """Say which settings have no effect with this schedule."""
    unused = []
    if config.checkpoint_layers is not None and plan.schedule != "sweep":
        unused.append("--checkpoint-layers, which is for a sweep")
    if config.compile and plan.schedule != "resident":
        unused.append("--compile, which is for the resident schedule")
    for option in unused:
        logger.warning(f"extract: not used: {option}; the schedule is {plan.schedule}")
