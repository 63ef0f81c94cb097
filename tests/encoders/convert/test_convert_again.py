"""Conversions of raw weights that are cut off, and what the same command makes of it; room on the disk."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from small.data.caches import content, flip_bit
from small.encoders.raw_opt import metaseq_parts, save_metaseq, save_settings, small_opt
from small.launch.kills import run_program
from tcf.common.errors import ModelError, RunError
from tcf.common.manifest import read_manifest
from tcf.encoders.convert import raw_model, write_shards
from tcf.encoders.convert.convert import CONVERTED, convert
from tcf.encoders.convert.file_ranges import FileRange, TensorInFiles
from tcf.encoders.folder.weight_files import weights_digest

# Converts in a process that is killed right before its n-th rename, then in another, for every other n until one is
# not hit; prints the manifest's files after each pair. Processes are copies of one that has imported everything.
KILLED = """
import json, os, shutil, signal, sys
from pathlib import Path
from tcf.common.manifest import read_manifest
from tcf.encoders.convert import raw_model
from tcf.encoders.convert.convert import CONVERTED, convert

raw_model.SHARD = 40_000
folder = Path(sys.argv[1])
convert(folder / "raw", folder / "out")  # so that all is imported
shutil.rmtree(folder / "out")

def ended(hit):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    renames = 0
    def watch(event, arguments):
        nonlocal renames
        if event == "os.rename" and str(arguments[1]).startswith(f"{folder}/"):
            renames += 1
            if renames == hit:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    convert(folder / "raw", folder / "out")
    os._exit(0)

hit, status = -1, signal.SIGKILL
while status == signal.SIGKILL:
    hit += 2
    status = ended(hit)
    there = (folder / "out").exists()
    again = ended(0)
    left = sorted(path.name for path in folder.iterdir())
    print(json.dumps([status, there, again, read_manifest(folder / "out", CONVERTED).files, left]))
    shutil.rmtree(folder / "out")
"""


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small OPT in two parts of metaseq's."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    model = small_opt()
    save_metaseq(tmp_path / "raw", metaseq_parts(model, 2))
    save_settings(model, tmp_path / "raw")
    return tmp_path / "raw"


def test_a_full_disk_is_found_out_first(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(total=10**9, used=10**9, free=50 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(
        RunError, match=r"expected 0\.1 GiB of free space for the weights .* found 0\.0 GiB; free space"
    ):
        convert(raw, raw.parent / "out")
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]
    # The checksums, which take long, come after.


def test_what_an_interrupted_conversion_has_written_is_room(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_model, "SHARD", 20_000)
    monkeypatch.setattr(write_shards, "_SPARE", 0)
    write = write_shards._write
    monkeypatch.setattr(
        write_shards, "_write", lambda shard, *rest: write(shard, *rest) if shard.nbytes > 20_000 else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        convert(raw, raw.parent / "out")
    monkeypatch.setattr(write_shards, "_write", write)
    ((work, size),) = ((file.parent, file.stat().st_size) for file in raw.parent.glob(".out.*.convert/*.safetensors"))
    needed = 2 * small_opt().num_parameters() - size
    for free, enough in ((needed - 1, False), (needed + 2_000, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if enough:
            assert convert(raw, raw.parent / "out").made
        else:
            with pytest.raises(RunError, match=r"GiB of free space for the weights still to be written"):
                convert(raw, raw.parent / "out")
            assert work.exists()


def test_an_interrupted_conversion_is_gone_on_with(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_model, "SHARD", 20_000)
    write, written = write_shards._write, []

    def interrupted(shard: write_shards.WeightShard, *rest: Any) -> None:
        written.append(shard.name)
        if len(written) == 3:
            raise KeyboardInterrupt
        write(shard, *rest)

    monkeypatch.setattr(write_shards, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(raw, raw.parent / "out")
    (work,) = raw.parent.glob(".out.*.convert")
    kept = {file.name: file.stat().st_mtime_ns for file in work.glob("*.safetensors")}
    assert sorted(kept) == written[:2]
    (work / "half").write_text("left by a kill")
    done = convert(raw, raw.parent / "out")
    assert written[2] == written[3]
    assert len(set(written)) == len(written) - 1  # nothing was written twice but what was interrupted
    files = {file.name: file.stat().st_mtime_ns for file in done.folder.iterdir()}
    assert all(files[name] == time for name, time in kept.items())
    assert set(read_manifest(done.folder, CONVERTED).files) == files.keys() - {"manifest.json"}
    assert "half" not in files
    assert sorted(path.name for path in raw.parent.iterdir()) == ["out", "raw"]
    monkeypatch.setattr(write_shards, "_write", write)
    shutil.move(done.folder, raw.parent / "first")
    again = convert(raw, raw.parent / "out")
    assert {name: (again.folder / name).read_bytes() for name in kept} == {
        name: (raw.parent / "first" / name).read_bytes() for name in kept
    }


def test_a_damaged_file_of_an_interrupted_conversion_is_written_again(
    raw: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(raw_model, "SHARD", 20_000)
    expected = content(convert(raw, raw.parent / "undisturbed").folder)
    write, calls = write_shards._write, iter(range(9))
    monkeypatch.setattr(write_shards, "_write", lambda *rest: write(*rest) if next(calls) < 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(raw, raw.parent / "out")
    monkeypatch.setattr(write_shards, "_write", write)
    first, _ = sorted(raw.parent.glob(".out.*.convert/*.safetensors"))
    flip_bit(first, first.stat().st_size - 2)
    with caplog.at_level(logging.WARNING):
        assert content(convert(raw, raw.parent / "out").folder) == expected
    assert [record.getMessage() for record in caplog.records] == [
        f"{first}: changed since an earlier attempt wrote it; it is written again"
    ]


def test_another_source_at_the_place(raw: Path, tmp_path: Path) -> None:
    convert(raw, tmp_path / "out")
    save_metaseq(raw, metaseq_parts(small_opt(seed=1), 2))
    with pytest.raises(ModelError, match=r"out: holds another converted model \(source: \w+\.\.\. found"):
        convert(raw, tmp_path / "out")


def test_a_converted_model_that_is_damaged_is_named_where_it_is_found_or_read(raw: Path) -> None:
    out = convert(raw, raw.parent / "out").folder
    for file in sorted(out.iterdir()):
        whole = file.read_bytes()
        flip_bit(file, len(whole) - 2)
        for use in (lambda: convert(raw, out), lambda: weights_digest(out)):
            with pytest.raises(ModelError, match=rf"{out}.*`tcf convert"):
                use()
        file.write_bytes(whole)
    assert not convert(raw, out).made


def test_a_source_that_has_become_shorter(tmp_path: Path) -> None:
    file = tmp_path / "part.pt"
    file.write_bytes(bytes(10))
    tensor = TensorInFiles(torch.float16, (8,), (FileRange(file, 4, 8),))
    with pytest.raises(ModelError, match=r"part\.pt: expected 16 bytes from byte 4, found 6; download it again"):
        tensor.read()


def test_a_kill_at_any_moment_changes_no_byte(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_model, "SHARD", 40_000)
    expected = read_manifest(convert(raw, raw.parent / "whole").folder, CONVERTED).files
    shutil.rmtree(raw.parent / "whole")
    done = run_program(KILLED, raw.parent)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for status, *_ in runs] == [9] * (len(runs) - 1) + [0]
    assert 2 * len(runs) > len(expected)  # nearly every file is renamed, and so is the folder
    assert sum(name.startswith("model-") for name in expected) > 1
    for _, there, again, files, left in runs[:-1]:
        assert (there, again) == (False, 0)
        assert files == expected
        assert left == ["out", "raw"]


def test_one_that_looked_before_another_had_done_it_leaves_nothing(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, looked = raw.parent / "out", "tcf.encoders.convert.convert.check_room"

    def meanwhile(*given: Any) -> None:
        monkeypatch.setattr(looked, raw_model.check_room)
        assert convert(raw, out).made
        raw_model.check_room(*given)

    monkeypatch.setattr(looked, meanwhile)
    assert not convert(raw, out).made
    assert [path.name for path in raw.parent.iterdir() if path.name.startswith(".")] == []
