import os
from pathlib import Path

import pytest

from tcf.common.files import FileStamp


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    os.utime(path, ns=(1, 2_000))
    return path


def test_a_file_that_is_left_alone_has_the_same_stamp_by_path_by_link_and_by_descriptor(file: Path) -> None:
    stamp = FileStamp.of(file)
    (file.parent / "link").symlink_to(file)
    assert FileStamp.of(file) == stamp
    assert FileStamp.of(file.parent / "link") == stamp
    with file.open("rb") as stream:
        assert FileStamp.of(stream.fileno()) == stamp
    assert (stamp.size, stamp.mtime_ns) == (7, 2_000)


@pytest.mark.parametrize("content", [b"content and more", b"CONTENT"])
def test_a_file_that_was_written_to_has_another(file: Path, content: bytes) -> None:
    stamp = FileStamp.of(file)
    file.write_bytes(content)
    assert FileStamp.of(file) != stamp
    assert not FileStamp.of(file).same_content(stamp)


def test_another_file_in_its_place_is_noticed_whatever_its_time(file: Path) -> None:
    stamp = FileStamp.of(file)
    other = file.with_name("other")
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(1, 2_000))
    other.replace(file)
    assert FileStamp.of(file) != stamp
    assert not FileStamp.of(file).same_content(stamp)


def test_other_permissions_are_a_change_but_not_one_of_the_content(file: Path) -> None:
    stamp = FileStamp.of(file)
    ctime = stamp.ctime_ns
    while FileStamp.of(file).ctime_ns == ctime:  # the clock of a file system ticks some hundred times a second
        file.chmod(0o600 if file.stat().st_mode & 0o077 else 0o644)
    assert FileStamp.of(file) != stamp
    assert FileStamp.of(file).same_content(stamp)


def test_a_time_that_was_set_back_does_not_hide_that_something_was_done(file: Path) -> None:
    stamp = FileStamp.of(file)
    while FileStamp.of(file).ctime_ns == stamp.ctime_ns:
        file.write_bytes(b"CONTENT")
        os.utime(file, ns=(1, 2_000))
    assert FileStamp.of(file).same_content(stamp)
    assert FileStamp.of(file) != stamp


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileStamp.of(tmp_path / "nothing")
