"""Items per second from texts to vectors: tcf, with and without shared prefixes, and two other ways.

These are sentence-transformers, and a plain padded loop with transformers.

One run measures all of them in turn and prints medians. The model has an OPT geometry and random weights, because speed
does not depend on their values. The other libraries run at their own best batch size, found first on some of the texts.
tcf is timed for all of `tcf extract` except loading the model: reading the item table, tokenising, the comparison that
decides whether prefixes are shared, the model, pooling and saving. The others start from a list of texts and end with
an array in memory.

Texts are a range of the sorted distinct ones, as those of a shard are, so that as many of their tokens are shared as in
a whole catalogue; `--order random` draws them one by one instead. For tcf the share of the matrix rate counts the
tokens that are computed, for the others all tokens of the texts.

The same run measures the machine's rate of matrix products, with the model's own shapes and as many rows as tcf's
micro-batches have: the better of torch's linear layer and oneDNN's with packed weights.

    python benchmarks/extract.py --texts items.tsv
    python benchmarks/extract.py --texts product-lines --items 4096 --types bfloat16

Needs the packages of `pip install -e ".[cpu,bench]"`.

Shapes: B texts, T tokens, D width.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from catalogues import product_lines, read_range, read_texts, unrelated_texts, write_items
from extract_stage import Stage
from geometries import GEOMETRIES, Geometry, geometry_tokenizer, save_model
from matrix_rate import matrix_rate, seconds_of
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from tcf.config.extract import ExtractConfig
from tcf.data.dataset import Dataset

_BATCHES = (16, 32, 64, 128, 256, 512)
_MAX_TOKENS = 30  # of a text, without a prefix
_SHARD_ROWS = 8192

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Contender:
    """A way of computing vectors of texts.

    Attributes:
        name: its name in the table.
        prepared: returns what computes the vectors of the texts, with its model loaded.
    """

    name: str
    prepared: Callable[[], Callable[[], Vectors]]


@dataclass(frozen=True)
class _Work:
    """What all contenders are given.

    Attributes:
        folder: the model.
        dtype: type to compute in.
        dataset: the items.
        texts: their texts, with the prefix.
        max_tokens: tokens at which a text is cut.
        device: where it is computed.
        options: the options.
    """

    folder: Path
    dtype: Any
    dataset: Dataset
    texts: list[str]
    max_tokens: int
    device: torch.device
    options: argparse.Namespace


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.manual_seed(0)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = torch.device(options.device)
    texts = _texts(options)
    print(f"{len(texts)} texts of {Path(options.texts).name}, medians of {options.repeats}; {_machine(device)}")
    # The first token comes with the texts.
    max_tokens = _MAX_TOKENS + len(geometry_tokenizer()(options.prefix)["input_ids"]) - 1
    with tempfile.TemporaryDirectory() as scratch:
        dataset = write_items(Path(scratch) / "dataset", texts)
        for geometry in (g for g in GEOMETRIES if g.name in options.geometries.split(",")):
            for name in options.types.split(","):
                folder = Path(scratch) / "model"
                save_model(geometry, folder, getattr(torch, name), device)
                written = [options.prefix + text for text in texts]
                _compare(geometry, _Work(folder, name, dataset, written, max_tokens, device, options))
                shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--texts",
        required=True,
        help="File with a text after a tab on each line; or product-lines, made-up names like those of H&M, 48 %% of "
        "whose tokens are shared in 4,096; or unrelated, made-up texts that share next to nothing.",
    )
    parser.add_argument("--items", type=int, default=2048, help="How many texts.")
    parser.add_argument(
        "--order",
        default="real",
        choices=["real", "random"],
        help="Take those of a file as a range of the sorted ones, as a shard does, or one by one at random.",
    )
    parser.add_argument("--prefix", default="", help="An instruction before every text.")
    parser.add_argument("--schedule", default="resident", choices=["resident", "sweep"], help="Schedule of tcf.")
    parser.add_argument("--tokens-per-batch", type=int, help="Tokens that tcf computes at once; default: a trial.")
    parser.add_argument("--geometries", default="125m", help=f"Some of {','.join(g.name for g in GEOMETRIES)}.")
    parser.add_argument("--types", default="float32,bfloat16", help="Types to compute in.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", action="store_true", help="Measure only tcf.")
    return parser.parse_args()


def _texts(options: argparse.Namespace) -> list[str]:
    match options.texts, options.order:
        case "product-lines", _:
            return product_lines(options.items)
        case "unrelated", _:
            return unrelated_texts(options.items)
        case file, "real":
            return read_range(Path(file), options.items)
        case file, _:
            return read_texts(Path(file), options.items)


def _compare(geometry: Geometry, work: _Work) -> None:
    """Measure one geometry in one type, all contenders in turn."""
    own, stage, rows = _tcf(work, share_prefixes=True)
    contenders = [own, _tcf(work, share_prefixes=False)[0]]
    if not work.options.alone:
        contenders += [_sentence_transformers(work), _padded(work)]
    first = [contender.prepared()() for contender in contenders]
    for contender, vectors in zip(contenders[1:], first[1:], strict=True):
        _check_close(contender.name, first[0], vectors, work.dtype)
    tokens = stage.tokens(rows)
    computed = tokens.computed if stage.shares else tokens.all
    print(f"{computed:,} of {tokens.all:,} tokens are computed ({1 - computed / tokens.all:.1%} shared)")
    rates, times = _timed(contenders, geometry, rows, work)
    rate = statistics.median(rates)
    name = f"OPT-{geometry.name} geometry, {work.dtype}, {work.options.schedule}"
    print(f"\n{name}; its matrix products with {rows} rows: {rate / 1e12:.3f} TFLOP/s")
    print(f"{'':44} {'items/s':>9} {'seconds':>9} {'share of matrix rate':>21} {'tcf is':>9}")
    ours = statistics.median(times[own.name])
    for name, taken in times.items():
        median = statistics.median(taken)
        share = geometry.flops * (computed if name == own.name else tokens.all) / median / rate
        items = len(work.texts) / median
        print(f"{name:44} {items:9.1f} {median:9.2f} {share:21.1%} {median / ours:8.2f}x", flush=True)


def _timed(
    contenders: list[Contender], geometry: Geometry, rows: int, work: _Work
) -> tuple[list[float], dict[str, list[float]]]:
    """The rates of matrix products in FLOP/s, and the seconds of each contender, in turn."""
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    rates = []
    for _ in range(work.options.repeats):
        rates.append(matrix_rate(geometry, rows, getattr(torch, work.dtype), work.device))
        for contender in contenders:
            times[contender.name].append(seconds_of(contender.prepared(), work.device))
    return rates, times


def _tcf(work: _Work, *, share_prefixes: bool) -> tuple[Contender, Stage, int]:
    """The stage itself, with a model that is loaded already, and the size of its micro-batches."""
    options = work.options
    config = ExtractConfig(
        dtype=work.dtype,
        storage="float32",
        devices=str(work.device),
        pooling="mean",
        schedule=options.schedule,
        prefix=options.prefix,
        max_tokens=work.max_tokens,
        tokens_per_batch=options.tokens_per_batch,
        share_prefixes=share_prefixes,
        shard_rows=_SHARD_ROWS,
    )
    out = work.folder.with_name("shared" if share_prefixes else "not-shared")
    stage = Stage.of(work.dataset, work.folder, out, config)
    limit = stage.engine().tokens_per_batch
    name = f"tcf ({limit} tokens at once)" if share_prefixes else "tcf, prefixes not shared"

    def prepared() -> Callable[[], Vectors]:
        return partial(stage.run, stage.engine())

    return Contender(name, prepared), stage, limit


def _sentence_transformers(work: _Work) -> Contender:
    """The encode method of sentence-transformers, which sorts texts by length and pads each batch."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    dtype = {"dtype": getattr(torch, work.dtype)}
    reader = Transformer(str(work.folder), model_kwargs=dtype, max_seq_length=work.max_tokens)
    pooling = Pooling(reader.get_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[reader, pooling], device=str(work.device))

    def encode(some: list[str], size: int) -> Vectors:
        return np.asarray(model.encode(some, batch_size=size, show_progress_bar=False), np.float32)

    return _at_best_batch("sentence-transformers", encode, work)


def _padded(work: _Work) -> Contender:
    """The straightforward loop: batches in the order of the texts, padded, masked mean."""
    tokenizer = AutoTokenizer.from_pretrained(work.folder)
    model = AutoModel.from_pretrained(work.folder, dtype=getattr(torch, work.dtype)).eval().to(work.device)

    def encode(some: list[str], size: int) -> Vectors:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(some), size):
                batch = tokenizer(
                    some[start : start + size],
                    padding=True,
                    truncation=True,
                    max_length=work.max_tokens,
                    return_tensors="pt",
                    return_token_type_ids=False,
                ).to(work.device)
                states_BTD = model(**batch).last_hidden_state.float()
                mask_BT1 = batch["attention_mask"][:, :, None]
                parts.append(((states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)).cpu())
        return np.asarray(torch.cat(parts).numpy())

    return _at_best_batch("transformers, padded", encode, work)


def _at_best_batch(name: str, encode: Callable[[list[str], int], Vectors], work: _Work) -> Contender:
    """A contender at the batch size at which it is fastest on some of the texts."""
    some = work.texts[: max(512, len(work.texts) // 4)]
    encode(some[:64], 32)
    size = min(_BATCHES, key=lambda size: seconds_of(lambda: encode(some, size), work.device))
    return Contender(f"{name} (batches of {size})", lambda: lambda: encode(work.texts, size))


def _check_close(name: str, ours: Vectors, theirs: Vectors, dtype: str) -> None:
    """Check that the vectors have equal directions: to 1e-5 in float32, to rounding in 16 bits."""
    cosine = (ours * theirs).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    if not cosine.min() > (1 - 1e-5 if dtype == "float32" else 0.99):
        sys.exit(f"{name}: its vectors differ from tcf's, lowest cosine {cosine.min()}")
    print(f"{name}: lowest cosine with tcf's vectors {cosine.min():.7f}")


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()
