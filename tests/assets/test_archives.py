import gzip
import stat
import zipfile
from pathlib import Path

import pytest

from tcf.assets.archives import check_gzip, unpack, unpack_named
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
    with pytest.raises(SourceError, match="outside the folder"):
        unpack(archive, "p", out)
    assert files_below(tmp_path).keys() == {"a.zip"}


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
