"""Files that users name to be written; each is one that some program could have put there."""

import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tcf.common.errors import RunError
from tcf.common.output.output_file import check_output_file, format_by_suffix, output_file
from tcf.common.output.own_files import NPY_PADDING, PNG_PROGRAM, is_own_file
from tcf.data.npy_files import ArrayFile

CONTENT = b'"user_id","place","item_id","score"\n"u",1,"\x1b[2J",0.5\n'


def write(out: Path, content: bytes = CONTENT) -> None:
    check_output_file(out)
    with output_file(out) as staging:
        staging.write_bytes(content)


def save_npy(file: Path, padding: int) -> None:
    with ArrayFile(file, (3,), np.float32, padding=padding) as array:
        array.append(np.arange(6, dtype=np.float32).reshape(2, 3))


def save_png(file: Path, program: str | None) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot()
    with file.open("wb") as stream:
        figure.savefig(stream, metadata={"Software": program})


def save_parquet(file: Path, metadata: dict[str, str] | None) -> None:
    pq.write_table(pa.table({"item_id": ["a"]}).replace_schema_metadata(metadata), file)


def save_csv(file: Path, names: list[str]) -> None:
    pyarrow.csv.write_csv(pa.table({name: ["1"] for name in names}), file)


def test_files_of_ours_are_recognised_and_no_others(tmp_path: Path) -> None:
    file = tmp_path / "f"
    for ours, save in (
        (True, lambda: save_npy(file, NPY_PADDING)),
        (False, lambda: save_npy(file, 0)),
        (False, lambda: file.write_bytes(b"\x93NUMPY")),
        (True, lambda: save_png(file, PNG_PROGRAM)),
        (False, lambda: save_png(file, "Matplotlib")),
        (False, lambda: save_png(file, None)),
        (True, lambda: save_parquet(file, {"tcf.run": "1"})),
        (False, lambda: save_parquet(file, {"pandas": "{}"})),
        (False, lambda: save_parquet(file, None)),
        (False, lambda: file.write_bytes(b"PAR1 cut off")),
        (True, lambda: save_csv(file, ["user_id", "place", "item_id", "score"])),
        (False, lambda: save_csv(file, ["user_id", "item_id", "score"])),
        (True, lambda: save_csv(file, ["item_id", "v0", "v1"])),
        (True, lambda: save_csv(file, ["item_id", "v0"])),
        (False, lambda: save_csv(file, ["item_id", "v0_of_mine"])),
        (True, lambda: save_csv(file, ["by", "group", "metric", "first", "second", "difference", "low"])),
        (False, lambda: save_csv(file, ["by", "group", "metric", "first"])),
        (True, lambda: file.write_bytes(b'{\n  "format": "tcf-comparison",\n  "users": 1\n}\n')),
        (False, lambda: file.write_bytes(b'{"users": 1, "format": "tcf-comparison"}')),
        (False, lambda: file.write_bytes(b"a letter")),
    ):
        save()
        assert is_own_file(file) == ours, file.read_bytes()[:200]


def test_a_header_with_the_mark_is_read_as_any_other(tmp_path: Path) -> None:
    save_npy(tmp_path / "a.npy", NPY_PADDING)
    save_npy(tmp_path / "b.npy", 0)
    for mode in (None, "r"):
        assert (np.load(tmp_path / "a.npy", mmap_mode=mode) == np.load(tmp_path / "b.npy")).all()
    assert (tmp_path / "a.npy").stat().st_size == (tmp_path / "b.npy").stat().st_size + NPY_PADDING
    assert np.load(tmp_path / "a.npy", mmap_mode="r").offset % 64 == 0


def test_a_new_an_empty_and_an_own_file_are_written(tmp_path: Path) -> None:
    for there in (None, b"", CONTENT + b"more"):
        if there is not None:
            (tmp_path / "f.csv").write_bytes(there)
        write(tmp_path / "f.csv")
        assert (tmp_path / "f.csv").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]


@pytest.mark.parametrize("through_link", [False, True])
def test_a_file_of_somebody_else_is_refused_before_the_work_and_at_its_end(tmp_path: Path, through_link: bool) -> None:
    file, out = tmp_path / "f.csv", tmp_path / ("link.csv" if through_link else "f.csv")
    if through_link:
        out.symlink_to(file)
    found = "a symbolic link to a file" if through_link else "a file"
    message = f"expected an unused path or a file that tcf wrote, found {found} that tcf did not write; remove it"
    file.write_bytes(b"precious")
    with pytest.raises(RunError, match=message):
        check_output_file(out)
    with pytest.raises(RunError, match=message), output_file(out):
        raise AssertionError
    file.unlink()
    with pytest.raises(RunError, match=message), output_file(out) as staging:
        staging.write_bytes(CONTENT)
        file.write_bytes(b"precious")
    assert file.read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} == {"f.csv", out.name}


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, out = tmp_path / "there" / "f.csv", tmp_path / "link.csv"
    out.symlink_to("there/f.csv")
    for there in (None, CONTENT + b"more"):
        if there is not None:
            target.write_bytes(there)
        write(out)
        assert out.is_symlink()
        assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["f.csv"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for name, found in (("folder", "a directory"), ("s", "a socket"), ("loop", "too many levels|leads nowhere")):
            with pytest.raises(RunError, match=f"{name}: .*({found})"):
                check_output_file(tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="a parent is not a directory"):
        check_output_file(tmp_path / "file" / "f.csv")


def test_a_device_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "null.csv").symlink_to("/dev/null")
    for name in (Path("/dev/null"), tmp_path / "null.csv"):
        write(name)
        assert not Path("/dev/null").is_file()
        assert format_by_suffix(name, ("parquet", "csv")) == "csv"
    assert (tmp_path / "null.csv").is_symlink()
    with pytest.raises(RunError, match=r"/dev/full: cannot be written \(no space left on device\)"):
        write(Path("/dev/full"))


def test_a_named_pipe_gets_the_whole_file_or_nothing(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe.parquet", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join()
    assert read == [CONTENT]
    with pytest.raises(KeyboardInterrupt), output_file(pipe) as staging:
        staging.write_bytes(b"half")
        raise KeyboardInterrupt
    assert pipe.is_fifo()
    assert format_by_suffix(pipe, ("parquet", "csv")) == "parquet"


def test_standard_output_by_all_its_names(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("-", "/dev/stdout", "/dev/fd/1"):
        write(Path(name))
        assert capfdbinary.readouterr().out == CONTENT
    assert format_by_suffix(Path("-"), ("parquet", "csv")) == "csv"


def test_a_terminal_is_shown_what_a_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    with os.fdopen(leader, "rb", buffering=0) as screen, os.fdopen(follower, "w") as terminal:
        shown = CONTENT.replace(b"\x1b", b"\\x1b").replace(b"\n", b"\r\n")
        write(Path(os.ttyname(follower)))
        assert screen.read(1000) == shown
        monkeypatch.setattr(sys, "stdout", terminal)
        write(Path("-"))
        assert screen.read(1000) == shown
