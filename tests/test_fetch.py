import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tcf.fetch import SourceError, WheelSource, download_wheel, unpack


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
    with pytest.raises(SourceError, match="cannot be unpacked"):
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


def test_python_without_pip_is_said_in_pythons_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    source = WheelSource("tiny==1.0", "tiny", "0" * 64, 1000)
    with pytest.raises(SourceError, match="No module named pip"), download_wheel(source, "tiny"):
        pass


def test_no_temporary_file_outlives_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    source = WheelSource("tcf-no-such-package==1.0", "tiny", "0" * 64, 1000)
    with pytest.raises(SourceError, match="No matching distribution"), download_wheel(source, "tiny"):
        pass
    assert list(tmp_path.iterdir()) == []
