"""Raw files of every format cut, emptied, damaged byte by byte, or read while they are being written."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small.data.damage import MODES, check, check_named, prepared, unsynced
from small.data.formats import FORMS, LOG, Form, Log, histories_left, write_form
from small.data.raw import histories_of, texts_of
from tcf.common.errors import DataError
from tcf.data.dataset import Dataset

# Enough users to distinguish one damaged line from many.
LARGE = Log(
    items=tuple((f"item{place}", f"Title {place}, a long one") for place in range(20)),
    events=tuple(
        (f"user{user}", f"item{(7 * user + 3 * turn) % 20}", 10**9 + turn) for turn in range(6) for user in range(15)
    ),
)
edit = st.tuples(
    st.integers(0, 1),
    st.floats(0, 1),
    st.sampled_from(["delete", "insert", "change", "insert", "change", "cut"]),
    st.sampled_from([*b"\t\n\r ,:|\"'\\{}0a-", 0, 0x1A, 0x80, 0xC3, 0xFF]) | st.integers(0, 255),
)
every_form = pytest.mark.parametrize("form", FORMS, ids=str)
text_forms = pytest.mark.parametrize("form", [form for form in FORMS if form.is_text], ids=str)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with unsynced():
        yield


@every_form
@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_empty_blank_or_not_there(form: Form, which: int, tmp_path: Path) -> None:
    files = form.write(LOG)
    name = list(files)[which]
    for content in (b"", b"\n", b"\n \n\n", b"\xff\xfea\0b\0"):
        raw = write_form(form, tmp_path / "raw", {**files, name: content})
        for mode in MODES:
            check_named(prepared(form, raw, mode), name)
    (raw / name).write_bytes(b"")
    check_named(prepared(form, raw), name)
    (raw / name).unlink()
    check_named(prepared(form, raw), str(raw))
    check_named(prepared(form, tmp_path / "nowhere"), "nowhere")
    (raw / name).mkdir()
    assert isinstance(prepared(form, raw), DataError)


@every_form
@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_was_cut(form: Form, which: int, tmp_path: Path) -> None:
    write_form(form, tmp_path / "raw", form.write(LOG))
    file = tmp_path / "raw" / list(form.write(LOG))[which]
    whole = file.read_bytes()
    for tenth in range(1, 10, 2):
        content = whole[: len(whole) * tenth // 10]
        file.write_bytes(content)
        folder = tmp_path / str(tenth)
        folder.mkdir()
        (tmp_path / "raw").rename(folder / "raw")
        found = prepared(form, folder / "raw", "skip")
        if form.packed or not form.is_text:
            check_named(found, file.name)
        elif which == 0 and isinstance(found, Dataset) and not form.in_parts:
            check_whole_lines(found, form, content)
        (folder / "raw").rename(tmp_path / "raw")


def check_whole_lines(found: Dataset, form: Form, content: bytes) -> None:
    """What the lines before the cut say is there; the last one's user may have lost something."""
    left = histories_of(found)
    cut = content.rsplit(b"\n", 1)[1].decode()
    lines = content.count(b"\n") - form.has_header
    if form.per_user:
        whole = dict(list(histories_left(LOG).items())[:lines])
    else:
        whole = histories_left(replace(LOG, events=LOG.events[: max(lines, 0)]))
    expected = {user: items for user, items in whole.items() if user not in cut}
    assert {user: left.get(user) for user in expected} == expected


@pytest.mark.parametrize("form", [form for form in FORMS if form.name in ("tcf", "mind", "table-csv")], ids=str)
def test_a_history_of_a_million_items(form: Form, tmp_path: Path) -> None:
    ids = [item for item, _ in LOG.items]
    long = ids * (1_000_000 // len(ids)) + ["spare"]
    files = form.write(LOG)
    match form.name:
        case "tcf":
            files["behaviors.tsv"] += f"long\t{' '.join(long)}\n".encode()
        case "mind":
            line = f"1\tlong\t11/12/2019 2:14:46 PM\t{' '.join(long[:-1])}\tspare-1\n"
            files["behaviors.tsv"] += line.encode()
        case _:
            rows = "".join(f"long,{item},{time}\n" for time, item in enumerate(long))
            files["events.csv"] += rows.encode()
    found = prepared(form, write_form(form, tmp_path / "raw", files), "error", keep_last=2_000_000)
    assert isinstance(found, Dataset)
    assert histories_of(found) == {**histories_left(LOG), "long": long}


@pytest.mark.parametrize("form", [form for form in FORMS if form.is_text and not form.packed], ids=str)
def test_a_file_that_is_still_being_written(form: Form, tmp_path: Path) -> None:
    """A dataset is of the bytes that its checksum is of, and so is every history in it; or the change is noticed."""
    files = form.write(LOG)
    name = next(iter(files))
    more = form.write(replace(LOG, events=tuple((f"more-{user}", item, time) for user, item, time in LOG.events)))
    rows = b"".join(more[name].splitlines(keepends=True)[form.has_header :]) * 2000
    raw = write_form(form, tmp_path / "raw", files)
    for part in range(2):
        (tmp_path / str(part)).mkdir()
        (raw / name).write_bytes(files[name])
        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(append_slowly, raw / name, rows)
            found = prepared(form, raw, MODES[part % 2])
            writer.result()
        if isinstance(found, DataError):
            assert name in str(found)
            continue
        assert isinstance(found, Dataset)
        check_is_a_prefix(found, files[name], rows, name)
        found.path.rename(tmp_path / str(part) / "out")


def append_slowly(file: Path, rows: bytes) -> None:
    """Some thousand bytes at a time, for a quarter of a second at most."""
    until = time.monotonic() + 0.25
    with file.open("ab", buffering=0) as stream:
        for start in range(0, len(rows), 3001):
            stream.write(rows[start : start + 3001])
            if time.monotonic() > until:
                return


def check_is_a_prefix(found: Dataset, first: bytes, rows: bytes, name: str) -> None:
    """The checksum is that of the first rows and some of the appended pieces; the first users are whole."""
    checksum = hashlib.sha256(first)
    wanted = json.loads((found.path / "manifest.json").read_text())["inputs"][name]
    for start in range(0, len(rows), 3001):
        if checksum.hexdigest() == wanted:
            break
        checksum.update(rows[start : start + 3001])
    assert checksum.hexdigest() == wanted
    left = histories_of(found)
    assert {user: left[user] for user in histories_left(LOG)} == histories_left(LOG)


@pytest.mark.parametrize("form", [form for form in FORMS if form.packed or not form.is_text], ids=str)
@pytest.mark.parametrize("which", [0, 1])
def test_packed_files_with_a_byte_changed(form: Form, which: int, tmp_path: Path) -> None:
    write_form(form, tmp_path / "raw", form.write(LOG))
    file = tmp_path / "raw" / list(form.write(LOG))[which]
    whole = file.read_bytes()
    for place in range(11, len(whole), max(1, len(whole) // 12)):
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        file.write_bytes(content)
        found = prepared(form, tmp_path / "raw")
        if isinstance(found, Dataset):
            if form.packed:  # some bits fill up the last byte; in Parquet a changed letter is a letter
                check(found, LOG, {})
            shutil.rmtree(found.path)
        else:
            check_named(found, file.name)


@text_forms
@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_text_with_bytes_deleted_inserted_and_changed(form: Form, data: st.DataObject) -> None:
    files = form.write(LARGE)
    edits = data.draw(st.lists(edit, min_size=1, max_size=3), label="edits")
    mode = data.draw(st.sampled_from(MODES), label="mode")
    for which, *rest in edits:
        name = list(files)[which]
        files[name] = edited(files[name], *rest)
    with tempfile.TemporaryDirectory() as folder:
        found = prepared(form, write_form(form, Path(folder) / "raw", files), mode)
        if isinstance(found, Dataset) and not quotes_moved(form, files):
            check_few_differ(found, 2 * len(edits))


def edited(content: bytes, place: float, kind: str, byte: int) -> bytes:
    at = int(place * (len(content) - 1))
    match kind:
        case "delete":
            return content[:at] + content[at + 1 :]
        case "insert":
            return content[:at] + bytes([byte]) + content[at:]
        case "cut":
            return content[:at] or b"x"
    return content[:at] + bytes([byte]) + content[at + 1 :]


def quotes_moved(form: Form, files: dict[str, bytes]) -> bool:
    """Whether rows may have gone into a quoted field, or the end of a file is missing: then many may differ."""
    whole = form.write(LARGE)
    shorter = any(len(files[name]) < len(content) - 3 for name, content in whole.items())
    quotes = form.kind == "csv" and any(files[name].count(b'"') != whole[name].count(b'"') for name in files)
    return shorter or quotes


def check_few_differ(found: Dataset, at_most: int) -> None:
    """A damaged line costs its own item or event, and no row takes the text or the events of another one."""
    titles, texts, left = dict(LARGE.items), texts_of(found), histories_of(found)
    damaged = {item for item in {*titles, *texts} if texts.get(item) != titles.get(item)}
    assert len(damaged) <= at_most + 1, damaged  # and one that may have lost its only event
    differing = []
    for user, items in histories_left(LARGE, frozenset(damaged)).items():
        if [item for item in left.get(user, []) if item not in damaged] != items:
            differing.append(user)
    assert len(differing) <= at_most, differing
    assert len(set(left) - set(histories_left(LARGE))) <= at_most


@pytest.mark.parametrize("form", [form for form in FORMS if form.kind == "csv" and not form.in_parts], ids=str)
@pytest.mark.parametrize(("first", "n_lines", "opening", "closing"), [(0, 2, 2, 2), (7, 3, 0, 1), (40, 5, 1, 0)])
def test_quotes_over_several_rows(
    form: Form, first: int, n_lines: int, opening: int, closing: int, tmp_path: Path
) -> None:
    """Rows that two stray quotes make one record of are all counted, and no other row is lost."""
    files = form.write(LARGE)
    name = next(iter(files))
    header, *lines = files[name].splitlines()
    fields = [line.split(b",") for line in lines]
    last = first + n_lines - 1
    fields[first][opening] = b'"' + fields[first][opening]
    fields[last][closing] += b'"'
    files[name] = b"\n".join([header, *map(b",".join, fields), b""])
    left = replace(LARGE, events=LARGE.events[:first] + LARGE.events[last + 1 :])
    raw = write_form(form, tmp_path / "raw", files)
    check(prepared(form, raw, "skip"), left, {"quote_over_rows": n_lines})
    check_named(prepared(form, raw, "error"), f"{name}:{first + 2}: expected a record within one line")


@pytest.mark.parametrize("form", [form for form in FORMS if form.name in ("tcf", "hm-gzip", "table-parquet")], ids=str)
def test_the_command_line_says_it_in_one_line(form: Form, tmp_path: Path) -> None:
    raw = write_form(form, tmp_path / "raw", form.write(LOG))
    file = raw / list(form.write(LOG))[1]
    file.write_bytes(b"" if form.name == "tcf" else file.read_bytes()[:-9])
    options = [word for key, value in form.options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    words = ["data", "prepare", form.format, str(raw), "--out", str(tmp_path / "out"), *options]
    done = subprocess.run([sys.executable, "-m", "tcf.cli", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tcf: error: ")
    assert done.stderr.count("\n") == 1
    assert file.name in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
