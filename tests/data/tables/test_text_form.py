"""What the bytes of a text file are like, and the copy of a file that is not regular."""

import gzip
import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.data.tables import text_lines
from tcf.data.tables.inspect_text import inspect_text
from tcf.data.tables.regular_copy import write_regular
from tcf.data.tables.text_form import TextForm

contents = st.lists(st.sampled_from([b'"', b'"', b"\n", b"\n", b"x" * 63, b"x" * 150, b","]), max_size=60).map(b"".join)


@settings(deadline=None, max_examples=60)
@given(contents, st.sampled_from([1, 64, 100, 1 << 18]))
def test_lines_and_records_are_counted(tmp_path_factory: pytest.TempPathFactory, content: bytes, block: int) -> None:
    path, content = tmp_path_factory.getbasetemp() / "t.csv", content + b"end\n"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_lines, "_BLOCK", block)
        facts = inspect_text(path, TextForm())
    ends = [at for at, byte in enumerate(content) if byte == ord("\n")]
    assert facts.n_lines == len(ends)
    assert facts.n_records == sum(content[:at].count(b'"') % 2 == 0 for at in ends)
    assert facts.is_open == (content.count(b'"') % 2 == 1)
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.begin == content


@pytest.mark.parametrize(
    ("content", "copy"),
    [
        (b'a,b\n1,"x y"\n\n\n', None),
        (b"a,b\r\n1,2\r\n", "a,b\n1,2\n"),
        (b"a,b\n\n1,2", "a,b\n\U0010fffd\n1,2\n"),
        (b'a,b\n1, "x"\n', 'a,b\n1, \U0010fffc"x"\n'),
        (b'a,b\n"1" ,2\n', 'a,b\n"1"\U0010fffc ,2\n'),
        (b"a,b\n1\0,\xff\n", "a,b\n1\U0010fe00,\U0010feff\n"),
        (gzip.compress(b"\xef\xbb\xbfa,b\n1,2\n\n", mtime=0), "a,b\n1,2\n"),
    ],
    ids=str,
)
def test_only_a_file_that_is_not_regular_is_copied(tmp_path: Path, content: bytes, copy: str | None) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert inspect_text(tmp_path / "t.csv", TextForm()).is_regular == (copy is None)
    if copy is not None:
        write_regular(tmp_path / "t.csv", TextForm(), tmp_path / "copy")
        assert (tmp_path / "copy").read_text("utf-8") == "\ufeff" + copy
