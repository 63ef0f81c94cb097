"""Items per second from texts to vectors: tcf, sentence-transformers, and a plain padded loop with transformers.

One run measures all of them in turn and prints medians. The model has an OPT geometry and random weights, because speed
does not depend on their values. The other libraries run at their own best batch size, found first on some of the texts.
tcf is timed for all of `tcf extract` except loading the model: reading the item table, tokenising, the model, pooling
and saving. The others start from a list of texts and end with an array in memory.

The same run measures the machine's rate of matrix products, with the model's own shapes and as many rows as tcf's
micro-batches have: the better of torch's linear layer and oneDNN's with packed weights.

    python benchmarks/extract.py --texts items.tsv

Needs the packages of `pip install -e ".[cpu,bench]"`.

Shapes: B texts, T tokens, D width.
"""

import argparse
import io
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from catalogues import read_texts, write_items
from geometries import GEOMETRIES, Geometry, save_model
from matrix_rate import matrix_rate, seconds_of
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from tcf.config.extract import ExtractConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.encoders.tokenize import tokenize
from tcf.extract.fill_caches import CacheFiller
from tcf.extract.inputs import open_inputs
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.schedules.load_engine import load_resident
from tcf.extract.stage import plan_stage

_BATCHES = (16, 32, 64, 128, 256, 512)
_MAX_TOKENS = 30
_SHARD_ROWS = 8192
# The plan is needed only for the size of shards, so its rates need not be measured.
_RATES = Rates(products=1e12, plain=1e12, block_share=1, storage=1e9)

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Contender:
    """A way of computing vectors of texts.

    Attributes:
        name: its name in the table.
        run: computes the vectors of the texts.
    """

    name: str
    run: Callable[[], Vectors]


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.manual_seed(0)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    device = torch.device(options.device)
    texts = read_texts(options.texts, options.items)
    print(f"{len(texts)} texts of {options.texts.name}, medians of {options.repeats}; {_machine(device)}")
    with tempfile.TemporaryDirectory() as scratch:
        dataset = write_items(Path(scratch) / "dataset", texts)
        for geometry in (g for g in GEOMETRIES if g.name in options.geometries.split(",")):
            for name in options.types.split(","):
                folder = Path(scratch) / "model"
                save_model(geometry, folder, getattr(torch, name), device)
                _compare(geometry, name, folder, dataset, texts, device, options)
                shutil.rmtree(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True, help="File with a text after a tab on each line.")
    parser.add_argument("--items", type=int, default=2048, help="How many of its texts, drawn at random.")
    parser.add_argument("--geometries", default="125m", help=f"Some of {','.join(g.name for g in GEOMETRIES)}.")
    parser.add_argument("--types", default="float32,bfloat16", help="Types to compute in.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", action="store_true", help="Measure only tcf.")
    return parser.parse_args()


def _compare(
    geometry: Geometry,
    dtype: str,
    folder: Path,
    dataset: Dataset,
    texts: list[str],
    device: torch.device,
    options: argparse.Namespace,
) -> None:
    """Measure one geometry in one type, all contenders in turn."""
    own, rows, tokens = _tcf(folder, dataset, dtype, device)
    contenders = [own]
    if not options.alone:
        contenders += [_sentence_transformers(folder, texts, dtype, device), _padded(folder, texts, dtype, device)]
    first = [contender.run() for contender in contenders]
    for contender, vectors in zip(contenders[1:], first[1:], strict=True):
        _check_close(contender.name, first[0], vectors, dtype)
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    rates = []
    for _ in range(options.repeats):
        rates.append(matrix_rate(geometry, rows, getattr(torch, dtype), device))
        for contender in contenders:
            times[contender.name].append(seconds_of(contender.run, device))
    rate = statistics.median(rates)
    print(f"\nOPT-{geometry.name} geometry, {dtype}; its matrix products with {rows} rows: {rate / 1e12:.3f} TFLOP/s")
    print(f"{'':44} {'items/s':>9} {'seconds':>9} {'share of matrix rate':>21} {'tcf is':>9}")
    ours = statistics.median(times[own.name])
    for name, taken in times.items():
        median = statistics.median(taken)
        share = geometry.flops * tokens / median / rate
        print(f"{name:44} {len(texts) / median:9.1f} {median:9.2f} {share:21.1%} {median / ours:8.2f}x", flush=True)


def _tcf(folder: Path, dataset: Dataset, dtype: str, device: torch.device) -> tuple[Contender, int, int]:
    """The stage itself, with a model that is loaded already; its micro-batch, and the tokens that it reads."""
    out = folder.with_name("cache")
    kind: Any = dtype
    config = ExtractConfig(
        dtype=kind,
        storage="float32",
        devices=str(device),
        pooling="mean",
        schedule="resident",
        shard_rows=_SHARD_ROWS,
    )
    shutil.rmtree(out, ignore_errors=True)
    inputs = open_inputs(data=dataset.path, model=folder, name="benchmark", out=out, config=config)
    loaded = load_resident(inputs.folder, (-1,), config, inputs.settings)
    limit = loaded.metadata["tokens_per_batch"]
    planned = plan_stage(inputs, _RATES)

    def run() -> Vectors:
        shutil.rmtree(out, ignore_errors=True)
        with redirect_stderr(io.StringIO()), CacheFiller.open(inputs, planned.plan, planned.sweep_folder) as filler:
            filler.fill(loaded)
        return np.asarray(VectorCache.open(out).vectors_for(dataset), np.float32)

    tokens = tokenize(inputs.tokenizer, dataset.texts.to_pylist(), max_tokens=config.max_tokens).offsets[-1]
    return Contender(f"tcf ({limit} tokens at once)", run), limit, int(tokens)


def _sentence_transformers(folder: Path, texts: list[str], dtype: str, device: torch.device) -> Contender:
    """The encode method of sentence-transformers, which sorts texts by length and pads each batch."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    reader = Transformer(str(folder), model_kwargs={"dtype": getattr(torch, dtype)}, max_seq_length=_MAX_TOKENS)
    model = SentenceTransformer(modules=[reader, Pooling(reader.get_embedding_dimension(), "mean")], device=str(device))

    def encode(some: list[str], size: int) -> Vectors:
        return np.asarray(model.encode(some, batch_size=size, show_progress_bar=False), np.float32)

    return _at_best_batch("sentence-transformers", encode, texts, device)


def _padded(folder: Path, texts: list[str], dtype: str, device: torch.device) -> Contender:
    """The straightforward loop: batches in the order of the texts, padded, masked mean."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype)).eval().to(device)

    def encode(some: list[str], size: int) -> Vectors:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(some), size):
                batch = tokenizer(
                    some[start : start + size],
                    padding=True,
                    truncation=True,
                    max_length=_MAX_TOKENS,
                    return_tensors="pt",
                    return_token_type_ids=False,
                ).to(device)
                states_BTD = model(**batch).last_hidden_state.float()
                mask_BT1 = batch["attention_mask"][:, :, None]
                parts.append(((states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)).cpu())
        return np.asarray(torch.cat(parts).numpy())

    return _at_best_batch("transformers, padded", encode, texts, device)


def _at_best_batch(
    name: str, encode: Callable[[list[str], int], Vectors], texts: list[str], device: torch.device
) -> Contender:
    """A contender at the batch size at which it is fastest on some of the texts."""
    some = texts[: max(512, len(texts) // 4)]
    encode(some[:64], 32)
    size = min(_BATCHES, key=lambda size: seconds_of(lambda: encode(some, size), device))
    return Contender(f"{name} (batches of {size})", lambda: encode(texts, size))


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
