import subprocess
import sys
from pathlib import Path

import pytest

from tcf.assets.source import SourceError
from tcf.assets.wheel import WheelSource, download_wheel


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
