"""What is missing, brought into the caches by the schedule that serves."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.config.extract import ExtractConfig
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.encoders.failures import NotSeparableError
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.tokenize import TextTokenizer
from tcf.extract.fill_caches import fill
from tcf.extract.outputs import Output
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.plan import Plan, plan_text
from tcf.extract.plan.planner import plan_extraction
from tcf.extract.plan.workload import Workload, workload
from tcf.extract.resolved_settings import Settings
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.load_engine import load_engine
from tcf.extract.schedules.sweep_folder import Unfinished

__all__ = ["Loading", "Planned", "plain"]

# Calls its first argument to load the language model, and may prepare for that, or do more once it is loaded.
Loading = Callable[[Callable[[], Engine], Settings, Plan], Engine]


def plain(load: Callable[[], Engine], settings: Settings, plan: Plan) -> Engine:
    """Load the language model, and nothing else."""
    return load()


@dataclass(frozen=True)
class Planned:
    """An extraction of which something is missing.

    Attributes:
        items: the dataset's item table.
        folder: the model.
        tokenizer: the encoder's.
        outputs: the caches.
        stored: of each cache, the sequences that it has.
        settings: what depends on the model and this machine.
        config: settings as asked for.
        name: the model's name, for people.
        out: where the caches are.
        rates: how fast this machine is; measured, or remembered, if not given.
    """

    items: ItemTable
    folder: ModelFolder
    tokenizer: TextTokenizer
    outputs: Sequence[Output]
    stored: Sequence[KeySet]
    settings: Settings
    config: ExtractConfig
    name: str
    out: Path
    rates: Rates | None

    def bring(self, loading: Loading) -> tuple[dict[str, int], int]:
        """Plan, say so, and fill the caches.

        Args:
            loading: loads a language model that fits each device.

        Returns:
            The dataset's counts, and how many sequences were computed.
        """
        config = self.config
        unfinished = Unfinished.beside(self.outputs[0].path, [output.identity for output in self.outputs])
        _name_others(unfinished)
        work = workload(self.items, self.tokenizer, config.prefix, config.max_tokens, self.stored)
        plan = self._plan(work, unfinished)
        print(plan_text(plan), file=sys.stderr)
        _name_unused(config, plan)
        done = fill(
            self.items,
            self.tokenizer,
            self.outputs,
            self.stored,
            name=self.name,
            config=config,
            shard_rows=plan.macro_batch_rows,
            load=partial(self._load, loading, work, plan),
            unfinished=unfinished,
        )
        unfinished.clear(others=config.shards is not None)
        return done

    def _plan(self, work: Workload, unfinished: Unfinished) -> Plan:
        """The plan; shards of a sweep that can be taken up again are cut as before."""
        plan = self._plan_as(work, self.config)
        if plan.schedule == "sweep" and self.config.checkpoint_layers is not None:
            plan = self._plan_as(work, unfinished.as_before(self.config))
            unfinished.remember(plan.macro_batch_rows, plan.micro_batch_tokens)
        if self.config.shards is not None and plan.schedule == "sweep" and self.config.shard_rows is None:
            raise ConfigError(
                "--shards: expected --shard-rows beside it, because in a sweep the size of shards follows from the "
                f"free memory, and all jobs have to cut the same ones; this machine would take {plan.macro_batch_rows}"
            )
        return plan

    def _plan_as(self, work: Workload, config: ExtractConfig) -> Plan:
        return plan_extraction(self.folder, work, config, name=self.name, out=self.out, rates=self.rates)

    def _load(self, loading: Loading, work: Workload, plan: Plan) -> Engine:
        """Load the model as planned; if it cannot be run block by block, as accelerate lays it out."""
        load = partial(self._load_as, plan)
        if plan.schedule == "resident":
            return loading(load, self.settings, plan)
        try:
            return load()
        except NotSeparableError as error:
            if self.config.schedule != "auto":
                raise
            print(f"extract: {error}; going on with --schedule dispatch", file=sys.stderr)
        plan = self._plan_as(work, replace(self.config, schedule="dispatch"))
        print(plan_text(plan), file=sys.stderr)
        return self._load_as(plan)

    def _load_as(self, plan: Plan) -> Engine:
        layers = tuple(dict.fromkeys(output.layer for output in self.outputs))
        return load_engine(self.folder, layers, self.config, self.settings, plan)


def _name_others(unfinished: Unfinished) -> None:
    """Say what lies beside the cache that this extraction will not take up."""
    for folder in unfinished.of_others():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(
            f"extract: {folder} holds {as_bytes(size)} of unfinished work of another encoder or other options; remove "
            "it unless somebody is going on with that",
            file=sys.stderr,
        )


def _name_unused(config: ExtractConfig, plan: Plan) -> None:
    """Say which settings are of no use with this schedule."""
    unused = []
    if config.checkpoint_layers is not None and plan.schedule != "sweep":
        unused.append("--checkpoint-layers, which is for a sweep")
    if config.compile and plan.schedule != "resident":
        unused.append("--compile, which is for the resident schedule")
    for option in unused:
        print(f"extract: not used: {option}; the schedule is {plan.schedule}", file=sys.stderr)
