"""Whether a language model's texts can share the states of their common prefixes: tried before the first shard.

A model that mixes tokens elsewhere than in its attention, or attends in a way of its own, would be wrong in silence.
So texts of the first shard, with their prefixes, are computed both ways, and only a model that gives equal states
shares them.

Shapes: n texts, P tokens of all texts, D width.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tcf.common.files import home
from tcf.common.ragged import offsets_from
from tcf.data.cache.shard_leases import shard_heartbeats
from tcf.data.keys import first_occurrences, sequence_keys
from tcf.encoders.encoder import layer_width
from tcf.encoders.failures import NotSeparableError, failures, reason
from tcf.encoders.prefix_sharing.prefix_tree import PrefixTree, sorted_rows
from tcf.encoders.prefix_sharing.tree_attention import use_plain_attention, use_tree_attention
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.inputs import ExtractionInputs
from tcf.extract.micro_batches import MicroBatch, in_order, micro_batches, shared_micro_batches
from tcf.extract.plan.calibration_memo import conditions, remembered_number
from tcf.extract.resolved_settings import may_share_prefixes
from tcf.extract.schedules.engine import DeviceFull, Engine, NotFinite, halved, ignore_progress, put
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.shard_jobs import ShardJob
from tcf.extract.sinks import TokenSink

__all__ = ["compared_texts", "shares_prefixes"]

logger = logging.getLogger(__name__)

Flags = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float32]

_PAIRS = 12  # neighbours in lexicographic order; with what is made of them these are 60 texts
_TOKENS = 16_384  # at most, of all texts that are compared
_COMPARABLE = 16  # tokens at least, with whose differences others are compared


def shares_prefixes(engine: Engine, inputs: ExtractionInputs, first: ShardJob) -> bool:
    """Return whether texts that begin alike are to share states, after trying it; says so if they are not.

    Args:
        engine: the language model; its attention is that of trees if they are.
        inputs: the model folder and the settings.
        first: the first shard, with a lease.
    """
    if not may_share_prefixes(inputs.config, inputs.folder):
        return False
    scratch = first.scratch.with_name(f"{first.scratch.name}-prefixes")
    texts = compared_texts(first.shard.sequences)
    try:
        with shard_heartbeats(first.places[0]):
            tried = replace(engine, checkpoint_layers=None) if isinstance(engine, SweepEngine) else engine
            why = _remembered(tried, inputs, lambda: _why_not(tried, inputs, texts, scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if why:
        for model in engine.models:
            use_plain_attention(model)
        logger.info(f"extract: texts that begin alike are computed one by one, as this model cannot share them ({why})")
    return not why


def compared_texts(sequences: TokenSequences) -> TokenSequences:
    """Choose texts for the comparison: neighbours in order, and texts that begin as some of them do.

    The latter share prefixes, and part from one another, even if there are few texts, or none that begin alike.

    Args:
        sequences: the sequences of a shard.

    Returns:
        At most 60 distinct texts: pairs of neighbours, and the first of each pair cut in half, cut to one token, and
        with its second half in reverse order.
    """
    ordered = sequences.take(sorted_rows(sequences))
    ordered = ordered.take(np.flatnonzero(ordered.lengths))
    if not len(ordered):
        return ordered
    pairs = max(1, min(_PAIRS, _TOKENS // (4 * int(ordered.lengths.max()))))
    firsts = np.unique(np.linspace(0, max(0, len(ordered) - 2), pairs).astype(np.int64))
    neighbours = ordered.take(np.unique(np.concatenate([firsts, np.minimum(firsts + 1, len(ordered) - 1)])))
    whole = ordered.take(firsts)
    halves = _cut(whole, whole.lengths // 2)
    found = TokenSequences.concatenate(
        [neighbours, halves, _cut(whole, whole.lengths * 0), _with_second_half_reversed(whole, halves)]
    )
    return found.take(first_occurrences(sequence_keys(found.tokens, found.offsets)))


def _is_one_path(texts: TokenSequences) -> bool:
    """Whether each text begins with all shorter ones."""
    nodes = len(PrefixTree.of(texts.take(sorted_rows(texts))))
    return nodes == int(texts.lengths.max(initial=0))


def _cut(sequences: TokenSequences, lengths: npt.NDArray[np.int64]) -> TokenSequences:
    """Sequences cut to these lengths, but at least one token."""
    kept = np.maximum(lengths, 1)
    parts = [sequences.tokens[start : start + n] for start, n in zip(sequences.offsets, kept, strict=False)]
    return TokenSequences(np.concatenate(parts), offsets_from(kept), 0)


class _Differs(Exception):
    """The states are not equal, which is not remembered: they may be for other texts."""


def _remembered(engine: Engine, inputs: ExtractionInputs, compare: Callable[[], str]) -> str:
    """What a comparison says; a sweep, which reads all weights for it, remembers that states were equal."""
    said = ""

    def equal() -> int:
        nonlocal said
        said = compare()
        if said:
            raise _Differs
        return 1

    what = {
        "architecture": inputs.folder.architecture,
        "layers": list(engine.encoder.layers),
        "max_tokens": inputs.settings.max_tokens,
        **conditions(inputs.settings.device, inputs.settings.dtype),
    }
    with suppress(_Differs):
        if engine.metadata["schedule"] == "sweep":
            remembered_number(home() / "trials", what, equal, key="shares_prefixes", whole=True)
        else:
            equal()
    return said or _tree_attention(engine)


def _tree_attention(engine: Engine) -> str:
    """Make the models attend along trees; returns why one does not."""
    try:
        for model in engine.models:
            use_tree_attention(model)
    except failures() as error:
        return reason(error)
    return ""


def _with_second_half_reversed(sequences: TokenSequences, halves: TokenSequences) -> TokenSequences:
    """Sequences with what comes after their first halves in reverse order."""
    tokens = sequences.tokens.copy()
    for start, stop in zip(sequences.offsets[:-1] + halves.lengths, sequences.offsets[1:], strict=True):
        tokens[start:stop] = tokens[start:stop][::-1]
    return TokenSequences(tokens, sequences.offsets, 0)


def _why_not(engine: Engine, inputs: ExtractionInputs, texts: TokenSequences, scratch: Path) -> str:
    """Compute texts one by one, then with shared states; returns how they differ, or why it cannot be done."""
    if _is_one_path(texts):
        return "there are no two texts to try it with"
    try:
        plain = _states(engine, inputs, texts, scratch, shares=False)  # with the model's own attention
        refusal = _tree_attention(engine)
        if refusal:
            return refusal
        shared = _states(engine, inputs, texts, scratch, shares=True)
    except NotFinite:
        return "one of the texts that were tried has states that are not finite"
    except DeviceFull as error:
        return f"trying it: {error}"
    except NotSeparableError as error:
        return str(error)
    except failures() as error:
        return reason(error)
    parting_P = _after_branches(shared_micro_batches(texts, engine.tokens_per_batch), texts)
    for layer, plain_PD in plain.items():
        found_P = _relative_differences(shared[layer], plain_PD)
        why = _difference_in_words(found_P, parting_P, texts, torch.finfo(inputs.settings.dtype).eps)
        if why:
            return f"the states of layer {layer} differ by {why}"
    return ""


def _states(
    engine: Engine, inputs: ExtractionInputs, texts: TokenSequences, scratch: Path, *, shares: bool
) -> dict[int, npt.NDArray[np.float32]]:
    """The states of all tokens by layer, (P, D) each, computed with as many tokens at once as fit.

    Raises:
        DeviceFull: not even a single text fits.
        NotFinite: a text gives states that are not finite.
    """
    while True:
        tokens = engine.tokens_per_batch
        batches = shared_micro_batches(texts, tokens) if shares else micro_batches(texts.lengths, tokens)
        sinks = {layer: _sink(inputs, layer, texts, engine.encoder.device) for layer in engine.encoder.layers}
        by_layer = {layer: [sink] for layer, sink in sinks.items()}
        try:
            engine.encode(batches, texts, by_layer, scratch=scratch, advance=ignore_progress)
        except DeviceFull:
            if tokens <= texts.lengths.max():
                raise
            engine = halved(engine)
            continue
        found = {layer: sink.states(in_order(batches))[0] for layer, sink in sinks.items()}
        for layer, states_PD in found.items():
            if not shares and not np.isfinite(states_PD).all():
                raise NotFinite(layer, 0)
        return found


def _difference_in_words(found_P: Distances, parting_P: Flags, texts: TokenSequences, eps: float) -> str:
    """Say how far states differ; nothing if it is by rounding alone.

    Rounding affects all tokens alike. A model that takes the node before a node for the token before it is wrong where
    that is another one, which a comparison in 16 bits, or of long texts, might otherwise not tell from rounding. First
    tokens, which attend to themselves alone, are rounded less than others.
    """
    others_P = ~parting_P
    others_P[texts.offsets[:-1]] = False
    everywhere, parting, others = (_root_mean_square(part) for part in (found_P, found_P[parting_P], found_P[others_P]))
    comparable = np.count_nonzero(others_P) >= _COMPARABLE
    if everywhere <= eps**0.5 and (not comparable or parting <= 2 * others + eps / 8):
        return ""
    return f"{everywhere:.2g} of their spread, and by {parting:.2g} where texts part"


def _root_mean_square(values: Distances) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def _after_branches(batches: Sequence[MicroBatch], texts: TokenSequences) -> Flags:
    """For each token, whether the node before its own is not that of the token before it, (P,); no first tokens."""
    sink = TokenSink(texts.lengths, 1, torch.float32, torch.device("cpu"))
    for batch in batches:
        if batch.tree is not None:
            depths_N = batch.tree.depths_N
            parts_N = (np.diff(depths_N, prepend=-1) != 1) & (depths_N > 0)
            put(batch, torch.from_numpy(parts_N)[None, :, None].float(), [sink])
    flags_P1, _ = sink.states(in_order(batches))
    found: Flags = flags_P1[:, 0] > 0
    return found


def _sink(inputs: ExtractionInputs, layer: int, texts: TokenSequences, device: torch.device) -> TokenSink:
    width = layer_width(inputs.folder, layer, project_out=inputs.config.project_out)
    return TokenSink(texts.lengths, width, torch.float32, device)


def _relative_differences(shared_PD: npt.NDArray[np.float32], plain_PD: npt.NDArray[np.float32]) -> Distances:
    """For each token the root mean square of differences, in standard deviations of each dimension over tokens, (P,).

    A few dimensions may hold numbers thousands of times as large as the others, the same for every text, beside which
    any other difference would be small. Not a number if a shared state is not.
    """
    spread_D = plain_PD.std(axis=0)
    spread_D = np.maximum(spread_D, 1e-3 * float(np.median(spread_D)) + 1e-12)
    found: Distances = np.sqrt(np.mean(np.square((shared_PD - plain_PD) / spread_D), axis=1))
    return found
