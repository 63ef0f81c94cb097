"""One worker among others: what it puts off, what it takes over, and what it tells of itself."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import OPTModel

from small.data.caches import content
from small.encoders.models import save_dataset, token_ids
from small.extract.extractions import TEXTS, extracted, vectors
from small.launch.kills import run_program
from tcf.common import lease_file
from tcf.common.errors import ModelError
from tcf.common.files import this_machine
from tcf.common.progress import Progress
from tcf.common.threads import BackgroundWorker
from tcf.data import Dataset, VectorCache, open_dataset
from tcf.data.keys import sequence_keys
from tcf.extract.shard_jobs import ShardJob
from tcf.extract.worker import ShardWorker

COMPUTE = ShardWorker.compute


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, opt: Path) -> Path:
    """A dataset `d` and its cache `c` in six shards."""
    folder = tmp_path_factory.mktemp("whole")
    extracted(save_dataset(folder / "d", TEXTS), opt, folder / "c", shard_rows=7)
    return folder


@pytest.fixture
def dataset(whole: Path) -> Dataset:
    return open_dataset(whole / "d")


@pytest.fixture
def shards(whole: Path, opt: Path) -> list[Path]:
    """In the order in which they are computed: that of their sorted sequences."""
    sequences = sorted(token_ids(opt, text, 30) for text in set(TEXTS))
    flat = np.array([token for ids in sequences for token in ids], np.int32)
    keys = sequence_keys(flat, np.cumsum([0, *map(len, sequences)])).tolist()
    found = (whole / "c" / "shards").iterdir()
    return sorted(found, key=lambda shard: keys.index(np.load(shard / "keys.npy")[0].tolist()))


@pytest.fixture
def begun(whole: Path, shards: list[Path], tmp_path: Path) -> Path:
    """A cache that has the first of the shards."""
    shutil.copytree(whole / "c", tmp_path / "c")
    for shard in shards[1:]:
        shutil.rmtree(tmp_path / "c" / "shards" / shard.name)
    shutil.rmtree(next((tmp_path / "c" / "datasets").iterdir()))
    return tmp_path / "c"


def claim_for(process: int, cache: Path, shard: Path) -> Path:
    file = cache / "shards" / f".{shard.name}.claim"
    file.write_text(json.dumps({"machine": this_machine(), "pid": process}))
    return file


def publish(shard: Path, cache: Path) -> None:
    """As another worker does."""
    shutil.copytree(shard, cache / "shards" / ".copy")
    (cache / "shards" / ".copy").rename(cache / "shards" / shard.name)


@dataclass
class Computing:
    """What our worker does.

    Attributes:
        order: the numbers of the shards that it computes.
        meanwhile: called with a number when that shard is computed.
        gone_through: items, as told to the progress.
    """

    order: list[int] = field(default_factory=list)
    gone_through: float = 0
    meanwhile: Callable[[int], None] = lambda number: None


@pytest.fixture
def computing(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> Computing:
    spy = Computing()
    keys = [np.load(shard / "keys.npy").tolist() for shard in shards]

    def computing(self: ShardWorker, job: ShardJob, *arguments: Any) -> Any:
        number = keys.index(job.shard.keys.tolist())
        spy.order.append(number)
        spy.meanwhile(number)
        return COMPUTE(self, job, *arguments)

    def advance(self: Progress, n: float, note: str = "", **effort: float) -> None:
        spy.gone_through += n

    monkeypatch.setattr(ShardWorker, "compute", computing)
    monkeypatch.setattr(Progress, "advance", advance)
    return spy


def without_claims(folder: Path) -> dict[str, bytes]:
    return {name: bytes_ for name, bytes_ in content(folder).items() if not name.endswith(".claim")}


def test_shards_of_a_living_worker_are_put_off_and_dropped_when_they_are_there(
    whole: Path,
    begun: Path,
    shards: list[Path],
    dataset: Dataset,
    opt: Path,
    computing: Computing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another worker has shards 2 and 3; it publishes 3 while ours computes 4, and gives 2 up while ours waits."""
    given_up, _ = (claim_for(os.getppid(), begun, shard) for shard in shards[2:4])
    monkeypatch.setattr(time, "sleep", lambda seconds: given_up.unlink())
    computing.meanwhile = lambda number: publish(shards[3], begun) if number == 4 else None
    done = extracted(dataset, opt, begun, shard_rows=7)
    assert computing.gone_through == len(TEXTS)
    assert computing.order == [1, 4, 5, 2]
    assert done.computed == sum(len(np.load(shards[number] / "keys.npy")) for number in computing.order)
    assert without_claims(begun) == content(whole / "c")


def test_a_shard_that_another_worker_finishes_in_the_end_is_not_computed(
    whole: Path, begun: Path, shards: list[Path], dataset: Dataset, opt: Path, computing: Computing
) -> None:
    claim_for(os.getppid(), begun, shards[1])
    computing.meanwhile = lambda number: publish(shards[1], begun) if number == 5 else None
    extracted(dataset, opt, begun, shard_rows=7)
    assert computing.gone_through == len(TEXTS)
    assert computing.order == [2, 3, 4, 5]
    assert without_claims(begun) == content(whole / "c")


def test_the_claims_of_a_killed_process_do_not_block(
    whole: Path, begun: Path, shards: list[Path], dataset: Dataset, opt: Path, computing: Computing
) -> None:
    killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    killed.kill()
    killed.communicate()
    for shard in shards[1:]:
        claim_for(killed.pid, begun, shard)
    extracted(dataset, opt, begun, shard_rows=7)
    assert computing.gone_through == len(TEXTS)
    assert computing.order == [1, 2, 3, 4, 5]
    # Nothing is left of those claims, nor of our own.
    assert content(begun) == content(whole / "c")


def test_shards_are_claimed_while_they_are_computed_and_give_signs_of_life(
    begun: Path, shards: list[Path], dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_file, "_HEARTBEAT", 0.0005)
    beaten: list[Path] = []

    def beat(file: Path) -> None:
        # The other place is that of claims made before there was a cache.
        if file.parent == begun / "shards":
            owner = json.loads(file.read_text())
            assert (owner["machine"], owner["pid"]) == (this_machine(), os.getpid())
            beaten.append(file)

    monkeypatch.setattr(lease_file, "heartbeat", beat)
    extracted(dataset, opt, begun, shard_rows=7)
    assert list(dict.fromkeys(beaten)) == [begun / "shards" / f".{shard.name}.claim" for shard in shards[1:]]
    assert len(beaten) > len(shards)


def test_a_shard_is_saved_while_the_next_is_computed(
    begun: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    do = BackgroundWorker.do

    def computing(*arguments: Any) -> Any:
        told.append("compute")
        return COMPUTE(*arguments)

    def doing(self: BackgroundWorker, piece: Any) -> None:
        told.append("save")
        do(self, piece)

    monkeypatch.setattr(ShardWorker, "compute", computing)
    monkeypatch.setattr(BackgroundWorker, "do", doing)
    extracted(dataset, opt, begun, shard_rows=7)
    assert told == ["compute", "save"] * 5


# Two processes, made of one that has imported what both need. Their models are slow, so that either has time to see
# what the other claims.
PROGRAM = """
import os, sys, time
import tcf.commands.app, tcf.extract.stage
from tcf.extract.schedules.resident import ResidentEngine
from transformers import AutoModel, AutoTokenizer, OPTModel
encode = ResidentEngine.encode
def slow(*arguments, **named):
    time.sleep(0.05)
    return encode(*arguments, **named)
ResidentEngine.encode = slow
child = os.fork()
sys.argv = ["tcf", "extract", "--data", sys.argv[1 if child else 2], *sys.argv[3:]]
try:
    tcf.commands.app.app(standalone_mode=False)
finally:
    sys.stdout.flush()
    if not child:
        os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(status)
"""


def test_two_processes_at_once_make_one_right_cache_and_share_the_work(
    tmp_path: Path, opt: Path, expected: Any
) -> None:
    both = save_dataset(tmp_path / "1", TEXTS), save_dataset(tmp_path / "2", TEXTS[::-1])
    line = ["--model", opt, "--out", tmp_path / "c", "--storage", "float32", "--shard-rows", 1]
    done = run_program(
        PROGRAM, *(dataset.path for dataset in both), *line, "--devices", "cpu", "--tokens-per-batch", 512
    )
    assert done.returncode == 0, done.stderr
    computed = [int(number) for number in re.findall(r"(\d+) computed now", done.stdout)]
    for dataset, own in zip(both, (expected, expected[::-1]), strict=True):
        np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)
    sequences = VectorCache.open(tmp_path / "c").n_rows
    assert len(computed) == 2
    assert min(computed) > 0
    assert sequences <= sum(computed) < 1.3 * sequences
    assert not [*tmp_path.rglob(".*.partial-*"), *tmp_path.rglob(".*.claim")]


def limited(most: int, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A model's forward on a device with room for so many tokens."""

    def run(self: Any, *arguments: Any, input_ids: Any, **named: Any) -> Any:
        if input_ids.numel() > most:
            raise torch.OutOfMemoryError("none left")
        return forward(self, *arguments, input_ids=input_ids, **named)

    return run


@pytest.mark.usefixtures("shown_log")
def test_with_too_little_memory_fewer_tokens_are_read_at_once(
    whole: Path, dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(OPTModel, "forward", limited(50, OPTModel.forward))
    extracted(dataset, opt, tmp_path / "c", tokens_per_batch=190)
    said = capfd.readouterr().err
    assert [line for line in said.splitlines() if "out of memory" in line and "tokens-per-batch" in line] == [
        "tcf: warning: extract: cpu: out of memory with up to 190 tokens at once; lower --tokens-per-batch, or pass a "
        "lower --max-memory so that weights take less; continuing with 95",
        "tcf: warning: extract: cpu: out of memory with up to 95 tokens at once; lower --tokens-per-batch, or pass a "
        "lower --max-memory so that weights take less; continuing with 47",
    ]
    [shard] = (tmp_path / "c" / "shards").iterdir()
    assert json.loads((shard / "manifest.json").read_text())["facts"]["tokens_per_batch"] == 47
    expected = vectors(whole / "c", dataset)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)


def test_a_device_without_room_for_a_text_is_an_error(
    dataset: Dataset, opt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OPTModel, "forward", limited(7, OPTModel.forward))
    with pytest.raises(ModelError, match="cpu: out of memory with up to 23 tokens at once"):
        extracted(dataset, opt, tmp_path / "c", tokens_per_batch=47)
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob(".*"))
