"""Filling caches: texts are tokenised ahead of the device, shards saved behind it, joins published at the end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing

from tcf.common.progress import Progress
from tcf.common.threads import prefetch
from tcf.config.extract import ExtractConfig
from tcf.data.cache.text_maps import TextMapWriter
from tcf.data.item_table import ItemTable
from tcf.data.key_set import KeySet
from tcf.data.keys import Keys
from tcf.encoders.tokenize import TextTokenizer
from tcf.extract.outputs import Output
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.sweep_folder import Unfinished
from tcf.extract.shards import Shard, Tally, cut_shards, one_part, read_texts
from tcf.extract.worker import Worker

__all__ = ["fill"]

_SHARDS_AHEAD = 2


def fill(
    items: ItemTable,
    tokenizer: TextTokenizer,
    outputs: Sequence[Output],
    stored: Sequence[KeySet],
    *,
    name: str,
    config: ExtractConfig,
    shard_rows: int,
    load: Callable[[], Engine],
    unfinished: Unfinished,
) -> tuple[dict[str, int], int]:
    """Bring whatever the caches lack of a dataset into them.

    Args:
        items: the dataset's item table.
        tokenizer: the encoder's.
        outputs: the caches.
        stored: of each cache, the sequences that it has.
        name: the encoder's name, for people.
        config: prefix, token limit, and which part of the shards.
        shard_rows: sequences in a shard.
        load: loads the language model; called when there is something to compute.
        unfinished: where unfinished work is kept.

    Returns:
        The dataset's counts, and how many sequences were computed.
    """
    tally = Tally()
    with ExitStack() as stack:
        joins = [stack.enter_context(TextMapWriter(output.path, items)) for output in outputs]

        def join(texts: Keys, sequences: Keys) -> None:
            for writer in joins:
                writer.add(texts, sequences)

        shards = _shards(items, tokenizer, stored, config=config, shard_rows=shard_rows, tally=tally, join=join)
        progress = stack.enter_context(Progress("extract", items.n_items, "items", extra_unit="tokens"))
        worker = Worker(load, items, outputs, stored, name, progress, unfinished)
        with closing(prefetch(shards, _SHARDS_AHEAD)) as coming:
            worker.run(coming)
        worker.create_caches()
        for writer in joins:
            writer.publish(tally.facts())
    return tally.facts(), worker.computed


def _shards(
    items: ItemTable,
    tokenizer: TextTokenizer,
    stored: Sequence[KeySet],
    *,
    config: ExtractConfig,
    shard_rows: int,
    tally: Tally,
    join: Callable[[Keys, Keys], None],
) -> Iterator[Shard]:
    """What there is to compute: all that is missing, or one part of all shards, less what is stored of it."""
    part = config.shard_slice
    chunks = read_texts(
        items,
        tokenizer,
        prefix=config.prefix,
        max_tokens=config.max_tokens,
        tally=tally,
        join=join,
        stored=stored if part is None else [KeySet()],
    )
    shards = cut_shards(chunks, shard_rows)
    return shards if part is None else one_part(shards, *part, stored)
