"""Reading text files of word vectors: forms, odd lines, damage."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tcf.common.errors import ModelError
from tcf.encoders.word_vectors import read_words as module
from tcf.encoders.word_vectors.read_words import WordFile, read_words
from tcf.encoders.word_vectors.words_layout import WordFileLayout, read_layout


def read(folder: Path, content: str | bytes, name: str = "w.txt", *, vectors: bool = True) -> WordFile:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_words(file, vectors=vectors)


def as_dict(found: WordFile) -> dict[str, list[float]]:
    return dict(zip(found.words.to_pylist(), found.vectors_ND.tolist(), strict=True))


@pytest.mark.parametrize(
    "content",
    [
        "a 1 2.5\nb -3e-1 4\n",
        "2 2\na 1 2.5\nb -3e-1 4\n",
        "a 1 2.5 \nb -3e-1 4 \n",
        "2 2\na 1 2.5 \nb -3e-1 4 \n",
        "a 1 2.5\r\nb -3e-1 4\r\n",
        "a 1 2.5\nb -3e-1 4",
        "a 1 2.5\nb -3e-1 4 \n",
    ],
)
def test_forms_of_one_content(tmp_path: Path, content: str) -> None:
    found = read(tmp_path, content)
    assert as_dict(found) == {"a": [1, 2.5], "b": [np.float32(-0.3), 4]}
    assert found.vectors_ND.dtype == np.float32
    assert (found.repeated, found.nameless) == (0, 0)
    packed = read(tmp_path, gzip.compress(content.encode()), "w.vec.gz")
    assert as_dict(packed) == as_dict(found)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a 1 2\nb 3 4\n", WordFileLayout(2, None, False)),
        ("a 1 2 \nb 3 4 \n", WordFileLayout(2, None, True)),
        ("7 3\na 1 2 3\n", WordFileLayout(3, 7, False)),
        ("7 3\na 1 2 3 \n", WordFileLayout(3, 7, True)),
        ("1 5 6\n2 7 8\n", WordFileLayout(2, None, False)),
        (". . . 1 2\nb 3\nc 3 4\nd 5 6\n", WordFileLayout(2, None, False)),
        ("1 2\n", WordFileLayout(2, 1, False)),
    ],
)
def test_layouts_are_told_from_the_first_lines(tmp_path: Path, content: str, expected: WordFileLayout) -> None:
    (tmp_path / "w.txt").write_text(content)
    assert read_layout(tmp_path / "w.txt") == expected


def test_words_are_taken_literally(tmp_path: Path) -> None:
    found = read(tmp_path, "\"quoted 1 2\n' 3 4\nNA 5 6\nnull 7 8\nnan 9 10\n日本 1 1\n\u0085 2 2\n3 3 3\n,; 4 4\n")
    assert found.words.to_pylist() == ['"quoted', "'", "NA", "null", "nan", "日本", "\u0085", "3", ",;"]


def test_words_that_are_numbers(tmp_path: Path) -> None:
    assert as_dict(read(tmp_path, "1 5 6\n2 7 8\n. 0 0\n")) == {"1": [5, 6], "2": [7, 8], ".": [0, 0]}


def test_words_with_spaces_stand_where_they_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"w{row} {row} 0.5\n" for row in range(50)]
    lines[0], lines[33], lines[40] = ". . . 7 8\n", "at name@domain.com 3 4\n", "1 2 40 5\n"
    expected = {f"w{row}": [row, 0.5] for row in range(50)}
    named = [*expected]
    named[0], named[33], named[40] = ". . .", "at name@domain.com", "1 2"
    monkeypatch.setattr(module, "_BLOCK", 64)  # many blocks
    found = read(tmp_path, "".join(lines))
    assert found.words.to_pylist() == named
    assert found.vectors_ND[[0, 33, 40, 41, 49]].tolist() == [[7, 8], [3, 4], [40, 5], [41, 0.5], [49, 0.5]]
    only = read(tmp_path, "".join(lines), vectors=False)
    assert only.words.to_pylist() == named
    assert only.vectors_ND.shape == (50, 0)


def test_the_first_of_several_lines_counts_and_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = "a 1 2\nb 3 4\na 5 6\n 7 8\na 9 9\nb 0 0\nc 1 1\n"
    for vectors in (True, False):
        found = read(tmp_path, content, vectors=vectors)
        assert found.words.to_pylist() == ["a", "b", "c"]
        assert (found.repeated, found.nameless) == (3, 1)
        assert "read w.txt: 7 words in" in (told := capsys.readouterr().err)
        assert "(3 repeated and 1 empty words left out)" in told
    assert as_dict(read(tmp_path, content)) == {"a": [1, 2], "b": [3, 4], "c": [1, 1]}
    read(tmp_path, "a 1 2\n")
    assert "left out" not in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"w45 1\n", "expected a word and 2 numbers, found 2 fields, 'w45 1'"),
        (b"w45 1 x\n", "invalid value 'x'"),
        (b"w45  1\n", "expected numbers that are finite in float32"),
        (b"w45 1  2\n", "expected a word and 2 numbers, found 4 fields"),
        (b"two words 1 x\n", "expected a word and 2 numbers, found 4 fields"),
        (b"\n", "expected"),
        (b"w\xff 1 2\n", "invalid UTF8 data"),
        (b"w45 nan 2\n", "expected numbers that are finite in float32"),
        (b"w45 1e39 2\n", "expected numbers that are finite in float32"),
        (b"two words inf 2\n", "expected numbers that are finite in float32"),
    ],
)
@pytest.mark.parametrize("header", [False, True])
def test_a_malformed_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, message: str, header: bool
) -> None:
    lines = [b"w%d 1 2\n" % row for row in range(50)]
    lines[40], lines[45] = b"p q 3 4\n", line
    content = (b"50 2\n" if header else b"") + b"".join(lines)
    for block in (64, 1 << 24):
        monkeypatch.setattr(module, "_BLOCK", block)
        with pytest.raises(ModelError, match=rf"w\.txt:{47 if header else 46}: .*{message}") as caught:
            read(tmp_path, content)
        assert "\n" not in str(caught.value)


def test_a_short_line_among_the_first_is_named_too(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.txt:2: expected a word and 2 numbers, found 2 fields"):
        read(tmp_path, "a 1 2\nb 3\nc 1 2\n")


def test_one_number_too_many_where_lines_end_with_a_space(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.txt:3: .*invalid value '5'"):
        read(tmp_path, "2 2\na 1 2 \n3 4 5 5\n")


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.txt:1: expected 3 words, as it states, found 2; download it again"):
        read(tmp_path, "3 2\na 1 2\nb 3 4\n")
    packed = gzip.compress(b"".join(b"w%d 1 2\n" % row for row in range(2000)))
    with pytest.raises(ModelError, match=r"w\.txt\.gz: cannot be read as word vectors .*fix it or download it again"):
        read(tmp_path, packed[:-20], "w.txt.gz")
    with pytest.raises(ModelError, match=r"w\.vec\.gz: cannot be read as word vectors"):
        read(tmp_path, b"a 1 2\n", "w.vec.gz")


def test_numbers_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).standard_normal((300, 50)) * 10.0 ** np.random.default_rng(1).integers(
        -8, 8, (300, 50)
    )
    lines = [f"w{row} " + " ".join(repr(float(number)) for number in numbers) for row, numbers in enumerate(draw)]
    np.testing.assert_array_equal(read(tmp_path, "\n".join(lines)).vectors_ND, draw.astype(np.float32))


def test_an_endless_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.txt\.gz:1: expected lines of at most 16 MiB, found a longer one; pass"):
        read(tmp_path, gzip.compress(b"a" + b" 1" * (40 << 20), 1), "w.txt.gz")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("2 100000\na 1 2\n", "found 100000; pass"),
        (f"2 {'9' * 17}\na 1 2\n", f"found {'9' * 17}; pass"),
        ("a" + " 1" * 70_000, "found 70000; pass"),
    ],
)
def test_widths_that_no_vectors_have(tmp_path: Path, content: str, found: str) -> None:
    with pytest.raises(ModelError, match=r"w\.txt:1: expected word vectors") as told:
        read(tmp_path, content)
    assert found in str(told.value)


def test_more_words_than_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "host_memory", lambda: (1 << 40, 2 << 20))
    content = gzip.compress(b"".join(b"word%d 1 2 3 4 5 6 7 8\n" % number for number in range(100_000)))
    with pytest.raises(ModelError, match="expected words and vectors that fit into memory, found more than 2 MiB"):
        read(tmp_path, content, "w.txt.gz")


def test_numbers_of_any_length_are_no_counts(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w\.txt:1: expected numbers that are finite in float32"):
        read(tmp_path, f"{'9' * 5000} {'9' * 5000}\n")
