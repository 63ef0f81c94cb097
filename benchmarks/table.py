"""Training with a vector table larger than memory, compared with the same training with the table in memory.

    python benchmarks/table.py --items 1000000 --width 4096 --memory 4GiB --folder FOLDER

The dataset is synthetic, with a skewed or a uniform popularity of items; the vectors are random. Both trainings run in
control groups, which needs root: `device` with the whole machine, `cache` with the given memory limit, page cache
included, and with the cache's files dropped from the page cache before. The exit status is 1 if the rate of `cache` is
less than the expected share of the rate of `device`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from groups import as_size, control_group
from processes import drop_from_cache, expect, mib, table, watch

from tcf.config.prepare import PrepareConfig
from tcf.data.cache.text_maps import write_text_map
from tcf.data.cache.writer import create_cache, write_shard
from tcf.data.dataset import Dataset
from tcf.data.keys import text_keys
from tcf.data.prepare import prepare

_HERE = Path(__file__).parent
_SHARD = 65_536
_HISTORY = 12


def main() -> None:
    """Measure and print."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tcf-benchmark-", dir=options.folder) as scratch:
        folder = Path(scratch)
        dataset = _dataset(folder, options.items, options.users, uniform=options.uniform)
        _cache(folder / "cache", dataset, options.width)
        size = sum(file.stat().st_size for file in (folder / "cache").rglob("vectors.npy"))
        print(f"{dataset.n_users} users, {dataset.n_items} items, vectors of {mib(size)} MiB")
        found: dict[str, list[tuple[float, int]]] = {"device": [], "cache": []}
        for repeat in range(options.repeats):
            for placement, outcomes in found.items():
                memory = options.memory if placement == "cache" else 2**40
                outcomes.append(_train(folder, placement, memory, options, repeat))
        sys.exit(0 if _print(found, options.expect_share) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--uniform", action="store_true", help="make all items equally popular")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--memory", type=as_size, default=as_size("4GiB"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--expect-share", type=float, help="minimum rate of cache relative to device")
    parser.add_argument("--folder", type=Path, help="for temporary files, on a disk")
    return parser.parse_args()


def _dataset(folder: Path, n_items: int, n_users: int, *, uniform: bool) -> Dataset:
    """Histories of items drawn with probabilities that fall with the item's number, or with equal probabilities."""
    generator = np.random.default_rng(0)
    raw = folder / "raw"
    raw.mkdir()
    (raw / "items.tsv").write_text("".join(f"{i}\tmade-up title {i}\n" for i in range(n_items)))
    shares = generator.random((n_users, _HISTORY))
    drawn = (n_items * shares if uniform else n_items**shares - 1).astype(np.int64)
    # Every item occurs, so that none is filtered out.
    drawn.ravel()[:n_items] = generator.permutation(n_items)[: drawn.size]
    generator.shuffle(drawn.ravel())
    lines = (f"u{user}\t{' '.join(map(str, items))}\n" for user, items in enumerate(drawn.tolist()))
    (raw / "behaviors.tsv").write_text("".join(lines))
    return prepare("tcf", raw, folder / "data", PrepareConfig())


def _cache(path: Path, dataset: Dataset, width: int) -> None:
    """Write a cache of arbitrary vectors; only their number and size matter."""
    identity = {"pooling": "mean", "max_tokens": 30, "compute": "float32", "storage": "float16"}
    create_cache(path, identity=identity, model="made-up", width=width)
    keys = text_keys(dataset.texts)
    base = np.random.default_rng(0).standard_normal((min(_SHARD, len(keys)), width), np.float32).astype(np.float16)
    for number, start in enumerate(range(0, len(keys), _SHARD)):
        part = keys[start : start + _SHARD]
        write_shard(path, part, np.roll(base[: len(part)], number, axis=1))
    write_text_map(path, dataset, texts=keys, sequences=keys, metadata={})


def _train(folder: Path, placement: str, memory: int, options: argparse.Namespace, repeat: int) -> tuple[float, int]:
    """Train once; returns targets per second and the peak of the process's memory that no file backs."""
    job, trained, result = (folder / f"{placement}-{repeat}.{end}" for end in ("json", "trained", "result"))
    settings = {"items": "text", "width": 128, "batch_size": 256, "table": placement, "seed": repeat, "devices": "cpu"}
    job.write_text(
        json.dumps(
            {
                "kind": "tcf",
                "settings": settings,
                "data": str(folder / "data"),
                "cache": str(folder / "cache"),
                "threads": options.threads,
                "seconds": options.seconds,
                "trained": str(trained),
                "result": str(result),
                "validation_users": 100,
            }
        )
    )
    drop_from_cache(folder / "cache")
    with control_group(memory, folder) as group:
        command = group.command([sys.executable, str(_HERE / "train_one.py"), str(job)])
        ended = watch(command, log=folder / f"{placement}.log", until=trained).expect()
        read = group.read_bytes
    found = json.loads(result.read_text())
    rate = found["targets"] / found["seconds"]
    print(f"{placement}, seed {repeat}: {rate:.0f} targets/s, {mib(ended.peak)} MiB, {mib(read)} MiB read", flush=True)
    return rate, ended.peak


def _print(found: dict[str, list[tuple[float, int]]], share: float | None) -> bool:
    device, cache = found["device"], found["cache"]
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in zip(cache, device, strict=True))
    rows = [
        (name, f"{statistics.median(rate for rate, _ in outcomes):,.0f}", mib(max(peak for _, peak in outcomes)))
        for name, outcomes in found.items()
    ]
    print(table(("table", "targets/s", "memory, MiB"), rows))
    print(f"the rate of cache is {ratio:.2f} of that of device")
    return share is None or expect(ratio >= share, f"at least {share} of the rate of device", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
