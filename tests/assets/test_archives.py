import gzip
import re
import stat
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tcf.assets.archives import check_gzip, read_named, unpack, unpack_named
from tcf.assets.source import SourceError


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_only_the_files_under_the_prefix_are_unpacked(tmp_path: Path) -> None:
    members = {
        "pkg/__init__.py": b"",
        "pkg/model/a.txt": b"a" * 5000,
        "pkg/model/deep/b.bin": b"b",
        "pkg/model2/c": b"c",
    }
    archive = zip_of(tmp_path / "a.zip", members)
    (tmp_path / "out").mkdir()
    unpack(archive, "pkg/model", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"a.txt": b"a" * 5000, "deep/b.bin": b"b"}


def test_suffixes_choose_among_the_files(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"p/a.inter": b"1", "p/a.item": b"2", "p/a.kg": b"3"})
    (tmp_path / "out").mkdir()
    unpack(archive, "p", tmp_path / "out", (".inter", ".item"))
    assert files_below(tmp_path / "out") == {"a.inter": b"1", "a.item": b"2"}


@pytest.mark.parametrize(
    "name", ["p/../../evil", "/p/evil", "../evil", "p/..", "other/../../evil", "p\\..\\..\\evil", "C:/evil"]
)
def test_a_name_that_leads_outside_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "a.zip", {"p/good": b"good", name: b"evil"})
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    for take in (partial(unpack, archive, "p", out), partial(unpack_named, archive, ("good", "evil"), out)):
        with pytest.raises(SourceError, match="outside the folder; nothing was unpacked"):
            take()
    assert files_below(tmp_path).keys() == {"a.zip"}


def test_an_absolute_path_behind_the_prefix_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    archive = zip_of(tmp_path / "a.zip", {f"p/{victim}": b"evil"})
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match=r"the path of the entry 'p//.*/victim' has an empty part; nothing was"):
        unpack(archive, "p", tmp_path / "out")
    assert not victim.exists()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("p//a", "has an empty part"),
        ("p/./a", "has an empty part"),
        ("p/a\0b", "contains control characters"),
        ("p/a\x1b]0;b", "contains control characters"),
        (f"p/{'a' * 300}", "is too long"),
        ("p/" + "a/" * 600, "is too long"),
    ],
)
def test_a_path_that_no_program_writes_is_refused(tmp_path: Path, name: str, fault: str) -> None:
    placeholder = name.replace("\0", "~")  # zipfile cuts names at a NUL when it writes them, too
    archive = zip_of(tmp_path / "a.zip", {"p/good": b"good", placeholder: b"evil"})
    archive.write_bytes(archive.read_bytes().replace(placeholder.encode(), name.encode()))
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match=f"{fault}; nothing was unpacked") as caught:
        unpack(archive, "p", tmp_path / "out")
    assert len(str(caught.value)) < 200
    assert files_below(tmp_path / "out") == {}


def changed(path: Path, change: Callable[[zipfile.ZipInfo], None], content: bytes = b"content") -> Path:
    """An archive whose list of entries, as written at its end, tells something else about one of them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/first", b"first")
        archive.writestr("p/a", content)
        change(archive.infolist()[1])
    return path


def encrypt(info: zipfile.ZipInfo) -> None:
    info.flag_bits |= 1


def pack_otherwise(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_LZMA


def claim_to_be_large(info: zipfile.ZipInfo) -> None:
    info.file_size = 3 << 30


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (encrypt, "'p/a' is encrypted"),
        (pack_otherwise, "'p/a' has compression method 14"),
        (claim_to_be_large, r"expected at most 200 times its .* B, found 3\.0 GiB unpacked"),
    ],
)
def test_an_entry_that_is_not_unpacked_piece_by_piece(
    tmp_path: Path, change: Callable[[zipfile.ZipInfo], None], fault: str
) -> None:
    archive = changed(tmp_path / "a.zip", change)
    out = tmp_path / "out"
    out.mkdir()
    for take in (partial(unpack, archive, "p", out), partial(unpack_named, archive, ["a"], out)):
        with pytest.raises(SourceError, match=f"{fault}.*; nothing was unpacked"):
            take()
    with pytest.raises(SourceError, match=f"{fault}.*; nothing was unpacked"):
        read_named(archive, ["p/a"])
    assert files_below(out) == {}


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"p/a": bytes(65 << 20)})
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="expected at most 200 times"):
        unpack(archive, "p", tmp_path / "out")
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(70 << 20), 1))
    with pytest.raises(SourceError, match=re.escape("a.gz: expected at most 64.0 MiB unpacked, found more")):
        check_gzip(tmp_path / "a.gz")


def test_an_entry_that_is_larger_than_it_says_leaves_nothing(tmp_path: Path) -> None:
    def understate(info: zipfile.ZipInfo) -> None:
        info.file_size = 3

    archive = changed(tmp_path / "a.zip", understate, b"content" * 100)
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match=r"a\.zip: cannot be unpacked \(Bad CRC"):
        unpack(archive, "p", tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_more_entries_than_any_dataset_has(tmp_path: Path) -> None:
    one = zip_of(tmp_path / "a.zip", {"p/a": b""}).read_bytes()
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    entries = one[start:end] * 100_001
    # zipfile goes by the size of the list of entries; their number has only two bytes.
    last = one[end : end + 12] + struct.pack("<LL", len(entries), start) + one[end + 20 :]
    (tmp_path / "a.zip").write_bytes(one[:start] + entries + last)
    with pytest.raises(SourceError, match="expected at most 100,000 entries, found 100,001; nothing was unpacked"):
        unpack(tmp_path / "a.zip", "p", tmp_path)


def test_a_name_of_a_file_and_of_a_folder_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"p/a/b": b"1", "p/a": b"2"})
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="'a' is both a file and a folder"):
        unpack(archive, "p", tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("p/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="'p/link' is a link"):
        unpack(tmp_path / "a.zip", "p", tmp_path)
    assert not (tmp_path / "link").is_symlink()


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("p/a", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("p/a", "two")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="a file name occurs twice"):
        unpack(tmp_path / "a.zip", "p", tmp_path / "out")


def test_damaged_bytes_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("p/a", b"content")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content.replace(b"content", b"CONTENT", 1))
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", "p", tmp_path / "out")


def test_a_prefix_without_files_is_an_error(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"p2/a": b"a"})
    with pytest.raises(SourceError, match="expected files in p, found none"):
        unpack(archive, "p", tmp_path)


def test_files_are_found_by_name_in_whichever_folder(tmp_path: Path) -> None:
    members = {"MIND/train/news.tsv": b"n", "MIND/behaviors.tsv": b"b", "__MACOSX/._news.tsv": b"x", "other.vec": b"v"}
    archive = zip_of(tmp_path / "a.zip", members)
    unpack_named(archive, ("news.tsv", "behaviors.tsv"), tmp_path / "out")
    assert files_below(tmp_path / "out") == {"news.tsv": b"n", "behaviors.tsv": b"b"}


def test_a_name_in_two_folders_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a/news.tsv": b"1", "b/news.tsv": b"2"})
    with pytest.raises(SourceError, match="a file name occurs twice"):
        unpack_named(archive, ("news.tsv",), tmp_path / "out")


def test_a_zip_with_none_of_the_names_is_an_error(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {"a/news.txt": b"1"})
    with pytest.raises(SourceError, match=r"expected an archive with news.tsv, behaviors.tsv, found none of them"):
        unpack_named(archive, ("news.tsv", "behaviors.tsv"), tmp_path / "out")


def test_what_is_no_zip_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"<html>please log in</html>")
    with pytest.raises(SourceError, match=r"a.zip: cannot be unpacked \(File is not a zip file\)"):
        unpack_named(tmp_path / "a.zip", ("news.tsv",), tmp_path / "out")


def test_gzip_is_read_to_its_end(tmp_path: Path) -> None:
    whole = gzip.compress(b"line\n" * 1000)
    damaged = whole[:20] + bytes([whole[20] ^ 255]) + whole[21:]
    (tmp_path / "a.gz").write_bytes(whole)
    check_gzip(tmp_path / "a.gz")
    for content in (whole[:-1], whole[: len(whole) // 2], damaged, b"<html>", whole[:-8] + bytes(4) + whole[-4:]):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(SourceError, match=r"a.gz: expected a complete gzip file"):
            check_gzip(tmp_path / "a.gz")
