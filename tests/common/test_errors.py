import datetime
import errno
import ssl
from pathlib import Path

import pyarrow as pa
import pytest

from tcf.common.errors import did_you_mean, os_error_words, value_words


def test_only_the_nearest_name_is_suggested_and_only_where_one_is_near() -> None:
    known = ("max_tokens", "max_memory", "layers")
    assert did_you_mean("max_token", known) == "; did you mean max_tokens?"
    assert did_you_mean("layer", known) == "; did you mean layers?"
    assert did_you_mean("row", ["raw", "out"]) == "; did you mean raw?"
    assert did_you_mean("tfc", ["hm", "tcf"]) == "; did you mean tcf?"
    assert (did_you_mean("title", ["item"]), did_you_mean("zz.csv", ["i.csv"])) == ("", "")
    assert did_you_mean("seed", known) == ""
    assert did_you_mean("layers", ()) == ""


def test_a_refusal_of_the_system_is_told_without_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"\[Errno 2\]") as missing:
        (tmp_path / "missing").read_text(encoding="utf-8")
    with pytest.raises(OSError, match=r"\[errno 2\]") as arrow:
        pa.OSFile(str(tmp_path / "missing"))
    assert os_error_words(missing.value) == "no such file or directory"
    assert os_error_words(arrow.value) == "no such file or directory"
    assert os_error_words(OSError("I/O error: File too large (os error 27)")) == "file too large"
    assert os_error_words(FileNotFoundError(tmp_path / "missing")) == "no such file or directory"
    assert os_error_words(PermissionError(errno.EACCES, "Permission denied", "a")) == "permission denied"
    assert os_error_words(OSError(errno.ENOSPC, "No space left on device")) == "no space left on device"


def test_an_error_without_a_number_keeps_its_own_words_on_one_line() -> None:
    assert os_error_words(OSError("Not a\n  gzip file")) == "not a gzip file"
    assert os_error_words(ssl.SSLError(1, "SSL: handshake failed")) == "SSL: handshake failed"
    assert os_error_words(OSError()) == "no reason given"


def test_values_look_as_in_the_file_or_option_that_they_come_from() -> None:
    assert value_words({"a": [None, True], "b": "ü"}) == '{"a": [null, true], "b": "ü"}'
    assert value_words("it's") == '"it\'s"'
    assert value_words(datetime.date(2026, 1, 2)) == '"2026-01-02"'
    assert value_words(["word"] * 20) == '["word", "word", "word", "word", "word", "word", "word", ...'
